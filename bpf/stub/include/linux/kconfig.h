/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stands in for a configured kernel tree: bcc includes this file ahead of everything else. */
#define CONFIG_BPF_SYSCALL 1
