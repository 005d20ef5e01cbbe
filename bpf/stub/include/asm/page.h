/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bcc sizes perf buffers by the page; the programs have none. */
#define PAGE_SIZE 4096
