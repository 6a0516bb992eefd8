/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that the tenants of one vNPU share on one device: checked and charged in one atomic step, without a lock,
 * and exact again after a process was killed between any two instructions.
 *
 * A tenant writes its own slot, everybody changes `used`. The order of a charge: in_flight up, used up (where the
 * limit is checked), charged up, in_flight down; of a refund: in_flight up, charged down, used down, in_flight down. So
 * at any moment used lies between the sum of charged and that sum plus all that is in flight, and whenever nothing is
 * in flight the two are equal. What a dead process had charged is taken back at once; what it had in flight may or may
 * not be in used, and is settled by flexnpu_ledger_settle() at the next moment at which no live tenant is in between.
 */
#ifndef FLEXNPU_LEDGER_H
#define FLEXNPU_LEDGER_H

#include "flexnpu/page.h"

#define FLEXNPU_LEDGER_BYTES ((UINT64_C(1) << 48) - 1) /* of flexnpu_ledger_device.used; the rest counts changes */

static inline uint64_t flexnpu_ledger_changed(uint64_t used, uint64_t bytes) {
    return ((used & ~FLEXNPU_LEDGER_BYTES) + FLEXNPU_LEDGER_BYTES + 1) | (bytes & FLEXNPU_LEDGER_BYTES);
}

/* Bytes charged by all tenants together. */
static inline uint64_t flexnpu_ledger_used(const flexnpu_ledger_device* ledger) {
    return __atomic_load_n(&ledger->used, __ATOMIC_RELAXED) & FLEXNPU_LEDGER_BYTES;
}

/* 1: charged. 0: it would pass the limit, and nothing has changed. Any thread of the slot's process. */
static inline int flexnpu_ledger_charge(flexnpu_ledger_device* ledger, uint32_t slot, uint64_t bytes, uint64_t limit) {
    flexnpu_ledger_slot* own = &ledger->slots[slot];
    uint64_t now = __atomic_load_n(&ledger->used, __ATOMIC_RELAXED);
    __atomic_fetch_add(&own->in_flight, bytes, __ATOMIC_SEQ_CST);
    for (;;) {
        const uint64_t used = now & FLEXNPU_LEDGER_BYTES;
        if (used > limit || bytes > limit - used || bytes > FLEXNPU_LEDGER_BYTES - used) {
            __atomic_fetch_sub(&own->in_flight, bytes, __ATOMIC_SEQ_CST);
            return 0;
        }
        if (__atomic_compare_exchange_n(&ledger->used, &now, flexnpu_ledger_changed(now, used + bytes), 1,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
            uint64_t peak = __atomic_load_n(&ledger->peak, __ATOMIC_RELAXED);
            __atomic_fetch_add(&own->charged, bytes, __ATOMIC_RELAXED);
            __atomic_fetch_sub(&own->in_flight, bytes, __ATOMIC_SEQ_CST);
            while (peak < used + bytes && !__atomic_compare_exchange_n(&ledger->peak, &peak, used + bytes, 1,
                                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            }
            return 1;
        }
    }
}

/* Takes bytes out of `used`; a hostile page cannot make it wrap. */
static inline void flexnpu_ledger_lower(flexnpu_ledger_device* ledger, uint64_t bytes) {
    uint64_t now = __atomic_load_n(&ledger->used, __ATOMIC_RELAXED);
    for (;;) {
        const uint64_t used = now & FLEXNPU_LEDGER_BYTES;
        const uint64_t left = bytes < used ? used - bytes : 0;
        if (__atomic_compare_exchange_n(&ledger->used, &now, flexnpu_ledger_changed(now, left), 1, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            return;
        }
    }
}

static inline void flexnpu_ledger_refund(flexnpu_ledger_device* ledger, uint32_t slot, uint64_t bytes) {
    flexnpu_ledger_slot* own = &ledger->slots[slot];
    __atomic_fetch_add(&own->in_flight, bytes, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&own->charged, bytes, __ATOMIC_RELAXED);
    flexnpu_ledger_lower(ledger, bytes);
    __atomic_fetch_sub(&own->in_flight, bytes, __ATOMIC_SEQ_CST);
}

/* daemon, after the slot's process is dead: frees the slot. 1: exact. 0: it died within a call; settle later. */
static inline int flexnpu_ledger_release(flexnpu_ledger_device* ledger, uint32_t slot) {
    flexnpu_ledger_slot* dead = &ledger->slots[slot];
    const uint64_t charged = __atomic_exchange_n(&dead->charged, 0, __ATOMIC_RELAXED);
    const uint64_t in_flight = __atomic_exchange_n(&dead->in_flight, 0, __ATOMIC_SEQ_CST);
    flexnpu_ledger_lower(ledger, charged);
    return in_flight == 0;
}

/* daemon: makes `used` the sum of what is charged. 1: done. 0: a tenant was in between; try again. */
static inline int flexnpu_ledger_settle(flexnpu_ledger_device* ledger) {
    uint64_t before = __atomic_load_n(&ledger->used, __ATOMIC_SEQ_CST);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < FLEXNPU_PROCESSES; ++i) {
        if (__atomic_load_n(&ledger->slots[i].in_flight, __ATOMIC_SEQ_CST) != 0) return 0;
        sum += __atomic_load_n(&ledger->slots[i].charged, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&ledger->slots[i].in_flight, __ATOMIC_SEQ_CST) != 0) return 0;
    }
    /* Every change of a slot changes `used` too, so an unchanged `used` means that the sum is of one moment. */
    return __atomic_compare_exchange_n(&ledger->used, &before, flexnpu_ledger_changed(before, sum), 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

#endif /* FLEXNPU_LEDGER_H */
