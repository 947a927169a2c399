// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* ebpf_exporter only supports 8-byte values, so a struct of eight counters becomes eight maps. */
#include "counter.h"

COUNTER(field0);
COUNTER(field1);
COUNTER(field2);
COUNTER(field3);
COUNTER(field4);
COUNTER(field5);
COUNTER(field6);
COUNTER(field7);
