/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries whose parameters are not known: phase ones of operators, launches of the layer below, and the dl functions.
 * An index says which function it is; the caller's registers reach the real function as they came.
 */
#include "../entries/stubs.h"

        .hidden flexnpu_phase_one_begin
        .hidden flexnpu_phase_one_end
        .hidden flexnpu_phase_two
        .hidden flexnpu_forward_begin
        .hidden flexnpu_forward_end
        .hidden flexnpu_dlsym
        .hidden flexnpu_dlvsym
        .hidden flexnpu_dlopen
        .hidden flexnpu_dlmopen

/* One row of aclnn.def: phase two has four parameters, the index becomes the fifth. */
        .set    index, 0
        .macro  operator_stub name
        .globl  \name
        .type   \name, %function
\name:
.Ltwo_\name:
        hint    #34                     /* bti c */
        mov     w4, #index
        b       flexnpu_phase_two
        .size   \name, . - \name
        .globl  \name\()GetWorkspaceSize
        .type   \name\()GetWorkspaceSize, %function
\name\()GetWorkspaceSize:
.Lone_\name:
        hint    #34
        mov     w16, #index
        b       phase_one
        .size   \name\()GetWorkspaceSize, . - \name\()GetWorkspaceSize
        .pushsection .data.rel.ro.flexnpu_operators, "aw"
        .quad   .Lone_\name, .Ltwo_\name
        .popsection
        .set    index, index + 1
        .endm

        .pushsection .data.rel.ro.flexnpu_operators, "aw"
        .balign 8
        .globl  flexnpu_operator_stubs
        .hidden flexnpu_operator_stubs
flexnpu_operator_stubs:
        .popsection

        .text
#define FLEXNPU_ACLNN(name, words, reals) operator_stub name
#include "aclnn.def"

/* offsets in struct flexnpu_phase_one; the struct begins at x29 - 256 */
#define REALS 64
#define INDEX 192
#define REAL 200
#define COPIED 208
#define STACK 216

        .type   phase_one, %function
phase_one:
        .cfi_startproc
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset 29, -16
        .cfi_offset 30, -8
        mov     x29, sp
        .cfi_def_cfa_register 29
        sub     sp, sp, #256
        stp     x0, x1, [sp, #0]
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     q0, q1, [sp, #REALS]
        stp     q2, q3, [sp, #REALS + 32]
        stp     q4, q5, [sp, #REALS + 64]
        stp     q6, q7, [sp, #REALS + 96]
        str     x16, [sp, #INDEX]       /* writing w16 cleared the upper half */
        add     x9, x29, #16
        str     x9, [sp, #STACK]
        mov     x0, sp
        bl      flexnpu_phase_one_begin
        sub     x10, x29, #256
        ldr     x11, [x10, #COPIED]
        cbz     x11, 2f
        add     x12, x11, #1            /* rounded up to an even count: the stack stays 16-aligned */
        and     x12, x12, #-2
        sub     sp, sp, x12, lsl #3
        add     x9, x29, #16
        mov     x13, sp
1:      ldr     x14, [x9], #8
        str     x14, [x13], #8
        subs    x11, x11, #1
        b.ne    1b
2:      ldp     x0, x1, [x10, #0]
        ldp     x2, x3, [x10, #16]
        ldp     x4, x5, [x10, #32]
        ldp     x6, x7, [x10, #48]
        ldp     q0, q1, [x10, #REALS]
        ldp     q2, q3, [x10, #REALS + 32]
        ldp     q4, q5, [x10, #REALS + 64]
        ldp     q6, q7, [x10, #REALS + 96]
        ldr     x16, [x10, #REAL]
        blr     x16
        sub     x10, x29, #256
        str     w0, [x10, #REAL]
        mov     w1, w0
        mov     x0, x10
        bl      flexnpu_phase_one_end
        sub     x10, x29, #256
        ldr     w0, [x10, #REAL]
        mov     sp, x29
        ldp     x29, x30, [sp], #16
        .cfi_def_cfa 31, 0
        .cfi_restore 29
        .cfi_restore 30
        ret
        .cfi_endproc
        .size   phase_one, . - phase_one

/* Launches of the layer below. */
        .set    index, 0
        .macro  forward_stub name
        .globl  \name
        .type   \name, %function
\name:
.Lforward_\name:
        hint    #34
        mov     w16, #index
        b       forward
        .size   \name, . - \name
        .pushsection .data.rel.ro.flexnpu_forwards, "aw"
        .quad   .Lforward_\name
        .popsection
        .set    index, index + 1
        .endm

        .pushsection .data.rel.ro.flexnpu_forwards, "aw"
        .balign 8
        .globl  flexnpu_forward_stubs
        .hidden flexnpu_forward_stubs
flexnpu_forward_stubs:
        .popsection

#define FLEXNPU_FORWARD(name, kind) forward_stub name
#include "functions.def"

/* A counted call goes on by a call, so that what it calls in turn is not counted again; every other one by a jump. */
        .type   forward, %function
forward:
        .cfi_startproc
        stp     x29, x30, [sp, #-96]!
        .cfi_def_cfa_offset 96
        .cfi_offset 29, -96
        .cfi_offset 30, -88
        mov     x29, sp
        .cfi_def_cfa_register 29
        stp     x0, x1, [x29, #16]
        stp     x2, x3, [x29, #32]
        stp     x4, x5, [x29, #48]
        stp     x6, x7, [x29, #64]
        mov     w0, w16
        bl      flexnpu_forward_begin
        mov     x16, x0
        mov     x17, x1
        cbz     x17, 2f
        sub     sp, sp, #(8 * FLEXNPU_FORWARD_WORDS)
        add     x9, x29, #96
        mov     x10, sp
        mov     x11, #(FLEXNPU_FORWARD_WORDS / 2)
1:      ldp     x12, x13, [x9], #16
        stp     x12, x13, [x10], #16
        subs    x11, x11, #1
        b.ne    1b
2:      ldp     x0, x1, [x29, #16]
        ldp     x2, x3, [x29, #32]
        ldp     x4, x5, [x29, #48]
        ldp     x6, x7, [x29, #64]
        cbz     x17, 3f
        blr     x16
        str     x0, [x29, #16]
        bl      flexnpu_forward_end
        ldr     x0, [x29, #16]
        mov     sp, x29
        ldp     x29, x30, [sp], #96
        .cfi_remember_state
        .cfi_def_cfa 31, 0
        .cfi_restore 29
        .cfi_restore 30
        ret
        .cfi_restore_state
3:      ldp     x29, x30, [sp], #96
        .cfi_def_cfa 31, 0
        .cfi_restore 29
        .cfi_restore 30
        br      x16
        .cfi_endproc
        .size   forward, . - forward

/* The dl functions: a jump to the real one leaves the caller's return address where RTLD_NEXT and $ORIGIN look for it. */
        .macro  lookup_entry name, answer
        .globl  \name
        .type   \name, %function
\name:
        .cfi_startproc
        hint    #34
        stp     x29, x30, [sp, #-48]!
        .cfi_def_cfa_offset 48
        .cfi_offset 29, -48
        .cfi_offset 30, -40
        stp     x0, x1, [sp, #16]
        str     x2, [sp, #32]
        bl      \answer
        cbz     x1, 1f
        ldp     x29, x30, [sp], #48
        ret
1:      mov     x16, x0
        ldp     x0, x1, [sp, #16]
        ldr     x2, [sp, #32]
        ldp     x29, x30, [sp], #48
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        br      x16
        .cfi_endproc
        .size   \name, . - \name
        .endm

        lookup_entry dlsym, flexnpu_dlsym
        lookup_entry dlvsym, flexnpu_dlvsym
        lookup_entry dlopen, flexnpu_dlopen
        lookup_entry dlmopen, flexnpu_dlmopen

        .section .note.GNU-stack, "", %progbits
