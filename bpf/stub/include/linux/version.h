/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bcc reads the version of the running kernel from here; the programs do not depend on it. */
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
