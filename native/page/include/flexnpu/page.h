/* SPDX-License-Identifier: Apache-2.0
 *
 * The two shared pages and the handshake between a tenant and the daemon.
 * C-compatible, fixed layout, libc only. A change of any offset raises FLEXNPU_PAGE_VERSION;
 * tenant and daemon of different versions refuse each other at attach.
 *
 * control page: written by the daemon alone (sealed against the tenant's writes), read by every tenant of one vNPU.
 * report page:  written by one tenant alone, read by the daemon as untrusted input.
 *
 * Fields that change while mapped are 4- or 8-byte aligned and accessed with the atomic order named beside them.
 */
#ifndef FLEXNPU_PAGE_H
#define FLEXNPU_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define FLEXNPU_PAGE_MAGIC 0x4e584c46u /* "FLXN", little endian */
#define FLEXNPU_PAGE_VERSION 1u
#define FLEXNPU_PAGE_SIZE 4096u
#define FLEXNPU_NAME_SIZE 64u /* with the terminating zero */
#define FLEXNPU_MESSAGE_SIZE 256u

typedef struct flexnpu_control_page {
    uint32_t magic;               /* daemon, once */
    uint32_t version;             /* daemon, once */
    uint32_t size;                /* daemon, once: sizeof(flexnpu_control_page) */
    uint32_t device;              /* daemon, once: physical device ordinal */
    char vnpu[FLEXNPU_NAME_SIZE]; /* daemon, once */
    /* One word so that a reader never sees a count without its revision:
     * bits 63..32 revision, 31..16 vector cores, 15..0 cube cores.
     * daemon: release store, then FUTEX_WAKE on revision_futex; tenant: relaxed load on the hot path, acquire in the
     * herald. */
    uint64_t quota;
    uint64_t memory_bytes;   /* daemon: release; tenant: relaxed. Limit of the vNPU on this device. */
    uint32_t revision_futex; /* daemon: low 32 bits of the revision, release; tenant's herald sleeps on it */
    uint32_t reserved0;
    uint8_t reserved[FLEXNPU_PAGE_SIZE - 104];
} flexnpu_control_page;

typedef struct flexnpu_report_page {
    uint32_t magic;            /* daemon, once */
    uint32_t version;          /* daemon, once */
    uint32_t size;             /* daemon, once */
    uint32_t pid;              /* daemon, once: as seen by SO_PEERCRED */
    uint64_t seen_revision;    /* tenant, release: newest revision an operator or the herald has read */
    uint64_t applied_revision; /* tenant, release: no work tiled under an older revision can still be launched */
    uint64_t applied_ns;       /* tenant, relaxed, before applied_revision: CLOCK_MONOTONIC of that moment */
    uint64_t memory_used;      /* tenant, relaxed: bytes charged to the ledger */
    uint64_t memory_peak;      /* tenant, relaxed */
    uint64_t memory_denied;    /* tenant, relaxed: allocations refused */
    uint64_t tiled;            /* tenant, relaxed: operators that finished phase one (or hit the executor cache) */
    uint64_t launched;         /* tenant, relaxed: operators that finished phase two */
    uint64_t launches[8];      /* tenant, relaxed, by flexnpu_launch_kind */
    uint64_t ungoverned;       /* tenant, relaxed: calls passed through because a hook could not govern them */
    uint8_t reserved[FLEXNPU_PAGE_SIZE - 152];
} flexnpu_report_page;

typedef enum flexnpu_launch_kind {
    FLEXNPU_LAUNCH_KERNEL = 0,
    FLEXNPU_LAUNCH_GRAPH = 1,
    FLEXNPU_LAUNCH_COPY = 2,
    FLEXNPU_LAUNCH_SET = 3,
    FLEXNPU_LAUNCH_HOST = 4,
    FLEXNPU_LAUNCH_COMM = 5,
    FLEXNPU_LAUNCH_LEGACY_OP = 6,
} flexnpu_launch_kind;

/* Handshake over SOCK_SEQPACKET at $FLEXNPU_SOCKET: one hello, one welcome with two descriptors (SCM_RIGHTS: control,
 * report). The connection then stays open and silent for the tenant's life; either side reads its end as death. */
typedef struct flexnpu_hello {
    uint32_t magic;
    uint32_t version;
    uint32_t size;
    uint32_t reserved;
    char vnpu[FLEXNPU_NAME_SIZE]; /* $FLEXNPU_VNPU */
} flexnpu_hello;

typedef enum flexnpu_status {
    FLEXNPU_OK = 0,
    FLEXNPU_BAD_HELLO = 1,   /* magic or size wrong */
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
} flexnpu_welcome;

static inline uint64_t flexnpu_pack_quota(uint32_t revision, uint32_t cube, uint32_t vector) {
    return ((uint64_t)revision << 32) | ((uint64_t)(vector & 0xffffu) << 16) | (cube & 0xffffu);
}
static inline uint32_t flexnpu_quota_revision(uint64_t quota) { return (uint32_t)(quota >> 32); }
static inline uint32_t flexnpu_quota_cube(uint64_t quota) { return (uint32_t)(quota & 0xffffu); }
static inline uint32_t flexnpu_quota_vector(uint64_t quota) { return (uint32_t)((quota >> 16) & 0xffffu); }

#ifdef __cplusplus
#define FLEXNPU_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define FLEXNPU_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_control_page) == FLEXNPU_PAGE_SIZE, "control page is one page");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_report_page) == FLEXNPU_PAGE_SIZE, "report page is one page");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_page, quota) == 80, "quota offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_control_page, revision_futex) == 96, "futex offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, seen_revision) == 16, "seen_revision offset");
FLEXNPU_STATIC_ASSERT(offsetof(flexnpu_report_page, launches) == 80, "launches offset");
FLEXNPU_STATIC_ASSERT(sizeof(flexnpu_hello) == 80 && sizeof(flexnpu_welcome) == 272, "handshake sizes");

#endif /* FLEXNPU_PAGE_H */
