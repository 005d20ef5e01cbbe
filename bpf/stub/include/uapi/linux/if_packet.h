/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Empty on purpose: bcc has its own copy of what the programs need from linux/if_packet.h. */
