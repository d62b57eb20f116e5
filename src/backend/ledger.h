/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.h - the books of one device; be_alloc, be_alloc_host, be_no_room and be_seal keep them. */
#ifndef QUIRE_BACKEND_LEDGER_H
#define QUIRE_BACKEND_LEDGER_H

struct be_ledger;

/* Empty books; free() them when the device is closed. */
struct be_ledger *ledger_new(void);

#endif
