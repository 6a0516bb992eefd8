/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared pages and the handshake between a tenant and the daemon.
 * C-compatible, fixed layout, libc only. A change of any offset raises FLEXNPU_PAGE_VERSION;
 * tenant and daemon of different versions refuse each other at attach.
 *
 * control page: one per vNPU, written by the daemon alone (sealed against the tenants' writes).
 * report page:  one per tenant, written by it, read by the daemon as untrusted input.
 * ledger pages: one set per vNPU, written by all its tenants and the daemon: they share one memory limit (ledger.h).
 * hail page:    one per daemon, written by all tenants: who may open its turn itself hails the others there (hail.h).
 *
 * A vNPU spans one to FLEXNPU_DEVICES devices; every page has a section for each, by the ordinal that the program sees.
 * Fields that change while mapped are 4- or 8-byte aligned and accessed with the atomic order named beside them.
 */
#ifndef FLEXNPU_PAGE_H
#define FLEXNPU_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define FLEXNPU_PAGE_MAGIC 0x4e584c46u /* "FLXN", little endian */
#define FLEXNPU_PAGE_VERSION 5u
#define FLEXNPU_PAGE_SIZE 4096u
#define FLEXNPU_LEDGER_SIZE (9u * 4096u)
#define FLEXNPU_NAME_SIZE 64u /* with the terminating zero */
#define FLEXNPU_MESSAGE_SIZE 256u
#define FLEXNPU_DEVICES 16u   /* that a vNPU spans at most */
#define FLEXNPU_HAILS 63u     /* devices that the hail page has a word for */
#define FLEXNPU_PROCESSES 64u /* of one vNPU at once; a device takes 63 */
#define FLEXNPU_GRAPHS 32u    /* captured graphs that a report page lists */
#define FLEXNPU_WAITS 16u     /* buckets of waits at the gate */

/* --- what the daemon grants --- */

/* A turn is a stretch of time in which a vNPU may launch. One word says which turn it is and how it goes:
 * bits 63..8 the turn's number, bits 7..0 flags. Its low 32 bits are the futex word of those who wait at the gate.
 * FLEXNPU_TURN_FREE, the word of a vNPU that is not time-shared, never closes. */
#define FLEXNPU_TURN_OPEN 1u /* launches are let through */
#define FLEXNPU_TURN_CONTENDED \
    2u                       /* others wait for the device: a tenant that has nothing to launch gives up its turn */
#define FLEXNPU_TURN_RING 4u /* let through, but ring the bell once: the vNPU was thought idle, its cores are lent */
#define FLEXNPU_TURN_BEHIND                                                                                         \
    8u /* opened before the turn of a lower priority was over: the device still works for that one. Taken back when \
        * it does not any more; a closed turn may have it, too. */
#define FLEXNPU_TURN_STANDBY                                                                                       \
    16u /* closed, but its vNPU may open it itself: whoever has something to launch hails, then enters it, and the \
         * daemon opens it. */
#define FLEXNPU_TURN_FREE ((uint64_t)FLEXNPU_TURN_OPEN)
/* What may be in flight beside a higher priority, where operators are short; elsewhere more. */
#define FLEXNPU_TIGHT_NS 100000u

typedef struct flexnpu_control_device {
    uint32_t physical; /* daemon, once: the device's ordinal below */
    uint32_t reserved0;
    /* One word so that a reader never sees a count without its number: bits 63..32 number of the grant, which rises by
     * one with each grant, 31..16 vector cores, 15..0 cube cores.
     * daemon: release store, then the bell; tenant: relaxed load on the hot path, acquire in the herald. */
    uint64_t quota;
    uint64_t memory_bytes; /* daemon: release; tenant: relaxed. Limit of the vNPU on this device. */
    uint64_t turn;         /* daemon: sequentially consistent, then FUTEX_WAKE; tenant: relaxed on the hot path */
    /* Most device time, as the tenant estimates it, that one tenant may have in flight; 0: no bound. One operator may
     * always be in flight. FLEXNPU_TIGHT_NS means that a higher priority is there: three quarters of it may then be
     * behind the operator that runs. daemon: relaxed; tenant: relaxed. */
    uint64_t in_flight_ns;
    uint64_t hail; /* daemon: relaxed, before a turn on standby: what opens it, and known to this vNPU alone; tenant:
                    * relaxed, after that turn */
    /* daemon: release, before `hail` is given to its vNPU; tenant: acquire. The print (hail.h) of the hail at which
     * this vNPU takes its turn for closed; 0: at none. */
    uint64_t yields_to;
    uint8_t reserved[72];
} flexnpu_control_device;

typedef struct flexnpu_control_page {
    uint32_t magic;               /* daemon, once */
    uint32_t version;             /* daemon, once */
    uint32_t size;                /* daemon, once: sizeof(flexnpu_control_page) */
    uint32_t device_count;        /* daemon, once: sections in use */
    char vnpu[FLEXNPU_NAME_SIZE]; /* daemon, once */
    uint32_t bell;                /* daemon: +1, release, FUTEX_WAKE after a grant; the tenant's herald sleeps on it */
    uint32_t phase;   /* daemon: relaxed. flexnpu_phase that was declared; IDLE: none, the tenant detects it */
    uint32_t watched; /* daemon: relaxed. 1: somebody follows the steps, and each that begins rings the first bell */
    uint8_t reserved0[36];
    flexnpu_control_device devices[FLEXNPU_DEVICES];
    uint8_t reserved[FLEXNPU_PAGE_SIZE - 128 - FLEXNPU_DEVICES * 128];
} flexnpu_control_page;

/* --- what a tenant reports --- */

typedef enum flexnpu_launch_kind {
    FLEXNPU_LAUNCH_KERNEL = 0,
    FLEXNPU_LAUNCH_GRAPH = 1,
    FLEXNPU_LAUNCH_COPY = 2,
    FLEXNPU_LAUNCH_SET = 3,
    FLEXNPU_LAUNCH_HOST = 4,
    FLEXNPU_LAUNCH_COMM = 5,
    FLEXNPU_LAUNCH_LEGACY_OP = 6,
} flexnpu_launch_kind;

typedef enum flexnpu_phase {
    FLEXNPU_PHASE_IDLE = 0,
    FLEXNPU_PHASE_PREFILL = 1,
    FLEXNPU_PHASE_DECODE = 2,
    FLEXNPU_PHASE_MIXED = 3,
} flexnpu_phase;

typedef struct flexnpu_report_device {
    uint64_t seen_grant;    /* tenant, release: newest grant that an operator or the herald has read */
    uint64_t applied_grant; /* tenant, release: no work tiled under an older grant can still be launched */
    uint64_t applied_ns;    /* tenant, relaxed, before applied_grant: CLOCK_MONOTONIC of that moment */
    uint64_t turn_entered;  /* tenant, sequentially consistent: newest turn in which this process has launched */
    uint64_t turn_drained;  /* tenant, release: of this turn and those before less than 0.2 ms is left on the device */
    uint32_t waiting;       /* tenant, sequentially consistent: threads that wait at the gate */
    uint32_t bell;          /* tenant: +1, release, FUTEX_WAKE on news for the arbiter (applied, waiting, drained) */
    uint64_t waited_ns;     /* tenant, relaxed: time that threads spent at the gate */
    uint64_t busy_ns;       /* tenant, relaxed: measured device time of its work, where it is measured */
    uint64_t memory_denied; /* tenant, relaxed: allocations refused */
    uint64_t launches[8];   /* tenant, relaxed, by flexnpu_launch_kind */
    uint64_t cleared_grant; /* tenant, release: as far as it can tell, nothing that was launched under an older grant is
                             * on the device. 0: it does not tell. */
    uint8_t reserved[48];
} flexnpu_report_device;

/* One engine step as the operator stream tells it, when the host launches it. All but the sequence: tenant, relaxed. */
typedef struct flexnpu_iteration {
    uint64_t sequence;     /* tenant: odd while it is written; steps so far = sequence / 2 */
    uint64_t phase;        /* flexnpu_phase */
    uint64_t requests;     /* sequences in the step */
    uint64_t new_tokens;   /* tokens computed, over the sequences */
    uint64_t context_sum;  /* tokens attended to, new ones included, over the sequences */
    uint64_t context_most; /* of the longest sequence */
    uint64_t graph;        /* 1: it was a replayed graph */
    uint64_t at_ns;        /* CLOCK_MONOTONIC: its end; of `begun`, what was seen last of its beginning */
} flexnpu_iteration;

typedef struct flexnpu_graph {
    uint64_t captured; /* tenant, release: bits 63..32 ordinal of the device + 1 (0: free), 31..16 vector, 15..0 cube */
    uint64_t replays;  /* tenant, relaxed */
} flexnpu_graph;

typedef struct flexnpu_report_page {
    uint32_t magic;   /* daemon, once */
    uint32_t version; /* daemon, once */
    uint32_t size;    /* daemon, once */
    uint32_t pid;     /* daemon, once: as seen by SO_PEERCRED */
    uint64_t tiled;   /* tenant, relaxed: operators that finished phase one (or hit the executor cache) */
    uint64_t reserved1;
    uint64_t ungoverned; /* tenant, relaxed: calls passed through because a hook could not govern them */
    uint64_t totals[3];  /* tenant, relaxed: steps of phase prefill, decode, mixed */
    flexnpu_iteration iteration;
    flexnpu_graph graphs[FLEXNPU_GRAPHS];
    uint64_t launched;       /* tenant, relaxed: operators that finished phase two, by another thread than `tiled` */
    flexnpu_iteration begun; /* the newest step, as far as it is known while it runs; told anew when more is */
    uint64_t begun_number;   /* tenant, within the sequence of `begun`: which step it is, counted from 1 */
    uint64_t waits[FLEXNPU_WAITS]; /* tenant, relaxed: waits at the gate, all devices', by flexnpu_wait_bucket() */
    uint8_t reserved0[176];
    flexnpu_report_device devices[FLEXNPU_DEVICES];
    uint8_t reserved[FLEXNPU_PAGE_SIZE - 1024 - FLEXNPU_DEVICES * 192];
} flexnpu_report_page;

/* --- memory that the tenants of a vNPU share; the protocol is in ledger.h --- */

typedef struct flexnpu_ledger_slot {
    uint64_t charged;   /* its tenant, relaxed: bytes of that process */
    uint64_t in_flight; /* its tenant: bytes of calls that have not settled charged and used yet */
} flexnpu_ledger_slot;

typedef struct flexnpu_ledger_device {
    uint64_t used; /* all: bits 63..48 a count of changes, 47..0 bytes charged by all tenants together */
    uint64_t peak; /* all, relaxed */
    uint8_t reserved[48];
    flexnpu_ledger_slot slots[FLEXNPU_PROCESSES];
} flexnpu_ledger_device;

typedef struct flexnpu_ledger_page {
    uint32_t magic;   /* daemon, once */
    uint32_t version; /* daemon, once */
    uint32_t size;    /* daemon, once */
    uint32_t device_count;
    uint8_t reserved0[48];
    flexnpu_ledger_device devices[FLEXNPU_DEVICES];
    uint8_t reserved[FLEXNPU_LEDGER_SIZE - 64 - FLEXNPU_DEVICES * 1088];
} flexnpu_ledger_page;

/* --- hails, from tenant to tenant; hail.h says who listens --- */

typedef struct flexnpu_hail_device {
    uint64_t
        hail; /* all, release: what was hailed last, or anything else; tenant: relaxed on the hot path, else acquire */
    uint8_t reserved[56];
} flexnpu_hail_device;

typedef struct flexnpu_hail_page {
    uint32_t magic;   /* daemon, once */
    uint32_t version; /* daemon, once */
    uint32_t size;    /* daemon, once */
    uint8_t reserved0[52];
    flexnpu_hail_device devices[FLEXNPU_HAILS]; /* by the ordinal below; devices beyond have no hails */
} flexnpu_hail_page;

/* --- the handshake --- */

/* Over SOCK_SEQPACKET at $FLEXNPU_SOCKET: one hello, one welcome with four descriptors (SCM_RIGHTS: control, report,
 * ledger, hails). The connection then stays open and silent for the tenant's life; either side reads its end as death.
 * A tenant that was attached to an earlier daemon says so, and its hello carries two descriptors, its report page and
 * its ledger, so that nothing it counted is lost. */
#define FLEXNPU_HELLO_RETURNING 1u
#define FLEXNPU_NO_SLOT 0xffffffffu

typedef struct flexnpu_hello {
    uint32_t magic;
    uint32_t version;
    uint32_t size;
    uint32_t flags;               /* FLEXNPU_HELLO_* */
    char vnpu[FLEXNPU_NAME_SIZE]; /* $FLEXNPU_VNPU */
    uint32_t slot;                /* of one that returns: its slot in the ledger */
    uint32_t reserved;
} flexnpu_hello;

typedef enum flexnpu_status {
    FLEXNPU_OK = 0,
    FLEXNPU_BAD_HELLO = 1,   /* magic, size or descriptors wrong */
    FLEXNPU_BAD_VERSION = 2, /* page versions differ */
    FLEXNPU_UNKNOWN_VNPU = 3,
    FLEXNPU_DENIED = 4, /* peer is not allowed on this vNPU */
    FLEXNPU_DAEMON_FAULT = 5,
} flexnpu_status;

typedef struct flexnpu_welcome {
    uint32_t magic;
    uint32_t version; /* the daemon's */
    uint32_t size;
    uint32_t status;                    /* flexnpu_status */
    char message[FLEXNPU_MESSAGE_SIZE]; /* one line for a person when status is not FLEXNPU_OK */
    uint32_t slot;                      /* the tenant's, in the ledger */
    uint32_t reserved;
} flexnpu_welcome;

static inline uint64_t flexnpu_pack_quota(uint32_t grant, uint32_t cube, uint32_t vector) {
    return ((uint64_t)grant << 32) | ((uint64_t)(vector & 0xffffu) << 16) | (cube & 0xffffu);
}
static inline uint32_t flexnpu_quota_grant(uint64_t quota) { return (uint32_t)(quota >> 32); }
static inline uint32_t flexnpu_quota_cube(uint64_t quota) { return (uint32_t)(quota & 0xffffu); }
static inline uint32_t flexnpu_quota_vector(uint64_t quota) { return (uint32_t)((quota >> 16) & 0xffffu); }

/* What a bucket of waits holds at most, each its own alone; the last one holds all that are longer. */
static const uint64_t flexnpu_wait_bounds_ns[FLEXNPU_WAITS - 1] = {
    10000u,   25000u,    50000u,    100000u,   250000u,    500000u,    1000000u,   2500000u,
    5000000u, 10000000u, 25000000u, 50000000u, 100000000u, 250000000u, 1000000000u};
static inline uint32_t flexnpu_wait_bucket(uint64_t ns) {
    uint32_t at = 0;
    while (at < FLEXNPU_WAITS - 1 && ns > flexnpu_wait_bounds_ns[at]) ++at;
    return at;
}

static inline uint64_t flexnpu_pack_turn(uint64_t number, uint32_t flags) { return (number << 8) | (flags & 0xffu); }
static inline uint64_t flexnpu_turn_number(uint64_t turn) { return turn >> 8; }

#ifdef __cplusplus
#define FLEXNPU_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define FLEXNPU_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_control_device) == 128, "control section");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_control_page) == FLEXNPU_PAGE_SIZE, "control page is one page");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_report_device) == 192, "report section");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_report_page) == FLEXNPU_PAGE_SIZE, "report page is one page");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_ledger_page) == FLEXNPU_LEDGER_SIZE, "the ledger is nine pages");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_hail_page) == FLEXNPU_PAGE_SIZE, "hail page is one page");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_hail_page, devices) == 64, "hail words");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_hail_device) == 64, "a hail word has a line of its own");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_device, hail) == 40, "hail offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_device, yields_to) == 48, "yields_to offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_page, bell) == 80, "bell offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_page, devices) == 128, "control sections");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_device, quota) == 8, "quota offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_device, turn) == 24, "turn offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, iteration) == 64, "iteration offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, graphs) == 128, "graphs offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, launched) == 640, "launched offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, begun) == 648, "begun offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, waits) == 720, "waits offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, devices) == 1024, "report sections");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_device, launches) == 72, "launches offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_ledger_page, devices) == 64, "ledger sections");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_ledger_device) == 1088, "ledger section");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_hello) == 88 && sizeof(flexnpu_welcome) == 280, "handshake sizes");

#endif /* FLEXNPU_PAGE_H */
