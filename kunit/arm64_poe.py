# SPDX-License-Identifier: GPL-2.0-only
"""kunit.py --qemu_config: an arm64 machine with FEAT_S1POE.

Needs a qemu-system-aarch64 that has the feature first in PATH ('make qemu' builds one).
By hand, from a kernel tree with the series:

  tools/testing/kunit/kunit.py run --arch=arm64 --qemu_config=<here>/kunit/arm64_poe.py \\
      --kunitconfig=<here>/configs/kunit.config --kunitconfig=<here>/configs/kpkeys.config \\
      --make_options LLVM=-22
"""

from ..qemu_config import QemuArchParams

QEMU_ARCH = QemuArchParams(linux_arch='arm64',
                           kconfig='''
CONFIG_SERIAL_AMBA_PL011=y
CONFIG_SERIAL_AMBA_PL011_CONSOLE=y''',
                           qemu_arch='aarch64',
                           kernel_path='arch/arm64/boot/Image',
                           # A panic ends the guest at once instead of waiting for the time-out.
                           kernel_command_line='console=ttyAMA0 panic=-1 kunit_shutdown=poweroff',
                           extra_qemu_params=['-machine', 'virt', '-cpu', 'max', '-nic', 'none'])
