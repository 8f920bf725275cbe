// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Workers.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <malloc.h>
#include <memory>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;

namespace kpkeys::lint {
namespace {

/// A worker that has grown beyond this makes room for a new one: what clang
/// leaves behind in the heap adds up over hundreds of units.
constexpr size_t MostMegabytes = 160;

/// Have @p Step move bytes until there are none left. Signals are no reason to stop.
template <typename Byte, typename Function> bool moveAll(Byte *At, size_t Size, Function Step) {
  while (Size) {
    ssize_t N = Step(At, Size);
    if (N < 0 && errno == EINTR)
      continue;
    if (N <= 0)
      return false;
    At += N;
    Size -= N;
  }
  return true;
}

bool writeAll(int FD, const void *Data, size_t Size) {
  // No signal if the other side is gone: that is handled as an error.
  return moveAll(static_cast<const char *>(Data), Size,
                 [&](const char *At, size_t Left) { return ::send(FD, At, Left, MSG_NOSIGNAL); });
}

bool readAll(int FD, void *Data, size_t Size) {
  return moveAll(static_cast<char *>(Data), Size, [&](char *At, size_t Left) { return ::read(FD, At, Left); });
}

/// What precedes the bytes of a result.
struct ResultHeader {
  uint8_t Success, Leaving;
  int64_t Began;
  uint64_t Text, Diagnostics, Dependencies;
};

bool sendResult(int FD, const WorkResult &R, bool Leaving) {
  std::string Dependencies = llvm::join(R.Dependencies, StringRef("\0", 1));
  ResultHeader Header;
  std::memset(&Header, 0, sizeof(Header));
  Header.Success = R.Success;
  Header.Leaving = Leaving;
  Header.Began = R.Began;
  Header.Text = R.Text.size();
  Header.Diagnostics = R.Diagnostics.size();
  Header.Dependencies = Dependencies.size();
  return writeAll(FD, &Header, sizeof(Header)) && writeAll(FD, R.Text.data(), R.Text.size()) &&
         writeAll(FD, R.Diagnostics.data(), R.Diagnostics.size()) &&
         writeAll(FD, Dependencies.data(), Dependencies.size());
}

bool receiveResult(int FD, WorkResult &R, bool &Leaving) {
  ResultHeader Header;
  if (!readAll(FD, &Header, sizeof(Header)))
    return false;
  std::string Dependencies(Header.Dependencies, 0);
  R.Text.resize(Header.Text);
  R.Diagnostics.resize(Header.Diagnostics);
  if (!readAll(FD, R.Text.data(), Header.Text) || !readAll(FD, R.Diagnostics.data(), Header.Diagnostics) ||
      !readAll(FD, Dependencies.data(), Header.Dependencies))
    return false;
  SmallVector<StringRef, 0> Names;
  StringRef(Dependencies).split(Names, '\0', -1, /*KeepEmpty=*/false);
  R.Dependencies.assign(Names.begin(), Names.end());
  R.Success = Header.Success;
  R.Began = Header.Began;
  Leaving = Header.Leaving;
  return true;
}

/// Megabytes of memory that are this process's own.
size_t ownMegabytes() {
  long Size = 0, Resident = 0, Shared = 0;
  if (FILE *F = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(F, "%ld %ld %ld", &Size, &Resident, &Shared) != 3)
      Resident = Shared = 0;
    std::fclose(F);
  }
  return size_t(Resident - Shared) * size_t(::sysconf(_SC_PAGESIZE)) >> 20;
}

class Pool {
public:
  Pool(ArrayRef<size_t> Items, function_ref<WorkResult(size_t)> Work, function_ref<void(size_t, WorkResult)> Done)
      : Items(Items), Work(Work), Done(Done) {}

  ~Pool() {
    for (Worker &W : Workers)
      stop(W);
  }

  Error run(unsigned Jobs) {
    Workers.resize(std::min<size_t>(Jobs, Items.size()));
    while (Finished < Items.size()) {
      if (Error E = giveOut())
        return E;
      takeIn();
    }
    return Error::success();
  }

private:
  struct Worker {
    pid_t Process = -1;
    int FD = -1;
    bool Busy = false;
    size_t Item = 0;
  };

  Error giveOut() {
    for (Worker &W : Workers) {
      if (W.Busy || Next == Items.size())
        continue;
      if (W.Process < 0)
        if (Error E = start(W))
          return E;
      W.Item = Items[Next++];
      W.Busy = true;
      // If it is gone already, reading from it will tell.
      uint64_t Item = W.Item;
      (void)writeAll(W.FD, &Item, sizeof(Item));
    }
    return Error::success();
  }

  void takeIn() {
    SmallVector<pollfd, 64> Polls;
    SmallVector<Worker *, 64> Polled;
    for (Worker &W : Workers)
      if (W.Busy) {
        Polls.push_back({W.FD, POLLIN, 0});
        Polled.push_back(&W);
      }
    if (::poll(Polls.data(), Polls.size(), -1) < 0)
      return;
    for (size_t I = 0; I < Polls.size(); ++I)
      if (Polls[I].revents)
        finish(*Polled[I]);
  }

  void finish(Worker &W) {
    WorkResult Result;
    bool Leaving = false;
    if (!receiveResult(W.FD, Result, Leaving)) {
      Result = {};
      Result.Text = stop(W);
    } else if (Leaving) {
      stop(W);
    }
    W.Busy = false;
    ++Finished;
    Done(W.Item, std::move(Result));
  }

  Error start(Worker &W) {
    int Pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, Pair))
      return createStringError(errnoAsErrorCode(), "cannot make a worker process: " + Twine(std::strerror(errno)));
    outs().flush();
    errs().flush();
    pid_t Parent = ::getpid();
    W.Process = ::fork();
    if (W.Process < 0) {
      Error E = createStringError(errnoAsErrorCode(), "cannot make a worker process: " + Twine(std::strerror(errno)));
      ::close(Pair[0]);
      ::close(Pair[1]);
      return E;
    }
    if (W.Process == 0) {
      // Not even SIGKILL of the main process leaves workers behind.
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != Parent)
        ::_exit(1);
      for (Worker &Other : Workers)
        if (Other.FD >= 0)
          ::close(Other.FD);
      ::close(Pair[0]);
      serve(Pair[1]);
    }
    ::close(Pair[1]);
    W.FD = Pair[0];
    return Error::success();
  }

  [[noreturn]] void serve(int FD) {
    uint64_t Item;
    while (readAll(FD, &Item, sizeof(Item))) {
      WorkResult Result = Work(Item);
      ::malloc_trim(0);
      bool Leaving = ownMegabytes() > MostMegabytes;
      if (!sendResult(FD, Result, Leaving) || Leaving)
        break;
    }
    ::_exit(0);
  }

  /// End the process of @p W; how it ended, for a message.
  std::string stop(Worker &W) {
    if (W.Process < 0)
      return "";
    ::close(W.FD);
    int Status = 0;
    // It ends when it sees the end of its input; if it is busy, nobody waits for what it does.
    if (W.Busy && Finished < Items.size())
      ::kill(W.Process, SIGTERM);
    while (::waitpid(W.Process, &Status, 0) < 0 && errno == EINTR)
      ;
    W.Process = -1;
    W.FD = -1;
    if (WIFSIGNALED(Status))
      return "the analysis crashed: " + std::string(::strsignal(WTERMSIG(Status)));
    return "the analysis ended early, with status " + itostr(WEXITSTATUS(Status));
  }

  ArrayRef<size_t> Items;
  function_ref<WorkResult(size_t)> Work;
  function_ref<void(size_t, WorkResult)> Done;
  std::vector<Worker> Workers;
  size_t Next = 0, Finished = 0;
};

} // namespace

Error runWorkers(ArrayRef<size_t> Items, unsigned Jobs, function_ref<WorkResult(size_t)> Work,
                 function_ref<void(size_t, WorkResult)> Done) {
  return Pool(Items, Work, Done).run(std::max(1u, Jobs));
}

} // namespace kpkeys::lint
