// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// The way of it: of four slots at a time, the tags that aren't zero are those in use, a mask of the bytes that are to be written follows from that, and one instruction moves these bytes
// together. What it writes is longer than that; the next four write over the rest.

// func packVectors(to unsafe.Pointer, room int, slots unsafe.Pointer, n int, next unsafe.Pointer, v *pairVectors, entry int) (written int, keys, vals uint64)
TEXT ·packVectors(SB), NOSPLIT, $0-80
	MOVQ      to+0(FP), DI
	MOVQ      room+8(FP), DX
	MOVQ      slots+16(FP), SI
	MOVQ      n+24(FP), CX
	MOVQ      next+32(FP), R8
	MOVQ      v+40(FP), R9
	MOVQ      entry+48(FP), R10
	VMOVDQU64 (R9), Z1          // ones in the bytes of a slot that are written
	VMOVDQU64 64(R9), Z2        // what a tag is combined with to be a key
	VPXORQ    Z3, Z3, Z3        // all keys and values, combined
	MOVL      $0x55, R11
	KMOVB     R11, K7           // tags
	XORQ      AX, AX            // bytes written
	XORQ      BX, BX            // slots done
	SUBQ      $64, DX
	SUBQ      $4, CX

loop:
	CMPQ         AX, DX
	JGT          tail
	CMPQ         BX, CX
	JGT          end
	VMOVDQU64    (SI), Z0
	PREFETCHT0   (R8)
	VPTESTMQ     Z0, Z0, K7, K1 // slots in use
	VPXORQ       Z2, Z0, Z0
	KMOVB        K1, R12
	KSHIFTLB     $1, K1, K2
	KORB         K1, K2, K2     // and their values
	VPORQ        Z0, Z3, K2, Z3
	VPMOVM2Q     K2, Z4
	VPTESTMB     Z1, Z4, K3
	VPCOMPRESSB.Z Z0, K3, Z5
	VMOVDQU64    Z5, (DI)(AX*1)
	POPCNTL      R12, R12
	IMULQ        R10, R12
	ADDQ         R12, AX
	ADDQ         $64, SI
	ADDQ         $64, R8
	ADDQ         $4, BX
	JMP          loop

tail:
	ADDQ $64, DX
	MOVQ $-1, R13

	// The last entries don't fill a vector any more: as many bytes are written as there are.
last:
	CMPQ         BX, CX
	JGT          end
	VMOVDQU64    (SI), Z0
	PREFETCHT0   (R8)
	VPTESTMQ     Z0, Z0, K7, K1
	VPXORQ       Z2, Z0, Z0
	KMOVB        K1, R12
	POPCNTL      R12, R12
	IMULQ        R10, R12
	LEAQ         (AX)(R12*1), R11
	CMPQ         R11, DX
	JGT          over
	KSHIFTLB     $1, K1, K2
	KORB         K1, K2, K2
	VPORQ        Z0, Z3, K2, Z3
	VPMOVM2Q     K2, Z4
	VPTESTMB     Z1, Z4, K3
	VPCOMPRESSB.Z Z0, K3, Z5
	BZHIQ        R12, R13, R12
	KMOVQ        R12, K4
	VMOVDQU8     Z5, K4, (DI)(AX*1)
	MOVQ         R11, AX
	ADDQ         $64, SI
	ADDQ         $64, R8
	ADDQ         $4, BX
	JMP          last

over:
	MOVQ $-1, AX

end:
	VEXTRACTI64X4 $1, Z3, Y4
	VPOR          Y4, Y3, Y3
	VEXTRACTI128  $1, Y3, X4
	VPOR          X4, X3, X3
	VMOVQ         X3, R12
	VPEXTRQ       $1, X3, R13
	VZEROUPPER
	MOVQ          AX, written+56(FP)
	MOVQ          R12, keys+64(FP)
	MOVQ          R13, vals+72(FP)
	RET
