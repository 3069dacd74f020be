//! What the table of compilers counts in machine code, on short texts that were counted by hand.

#[path = "../../benches/compilers/src/assembly.rs"]
mod assembly;

use assembly::Turn;

#[test]
fn the_main_loop_is_the_one_that_multiplies_most() {
    // Two multiply-adds before any loop, one in a first loop, three in the second one, none in the third.
    let text = "\
BB0:
\tv_fma_f32 v1, v2, v3, v4                                    ; d54b0001 0412 0702
\tv_fma_f32 v1, v2, v3, v4                                    ; d54b0001 0412 0702
BB1:
\tv_fma_f32 v1, v2, v3, v4                                    ; d54b0001 0412 0702
\ts_cbranch_scc0 BB1                                          ; bf840004
BB2:
\tds_write_b128 v1, v[2:5]                                    ; db7c0000
\ts_cbranch_execz BB3                                         ; bf880006
\tbuffer_load_dwordx4 v[2:5], v1, s[0:3], 0 offen             ; e0381000
BB3:
\ts_barrier                                                   ; bf8a0000
\tds_read_b128 v[2:5], v1                                     ; dbfc0000
\tds_read2_b64 v[2:5], v1 offset1:8                           ; d9dc0800
\tds_read_b32 v6, v1                                          ; d8d80000
\tv_fmac_f32_e32 v1, v2, v3                                   ; 56020702
\tv_mac_f32_e32 v1, v2, v3                                    ; 2c020702
\tv_mad_f32 v1, v2, v3, v1                                    ; d5410001
\tv_mul_f32_e32 v1, v2, v3                                    ; 10020702
\ts_cbranch_scc1 BB4                                          ; bf850004
\ts_branch BB2                                                ; bf82fcba
BB4:
\tds_read_b128 v[2:5], v1                                     ; dbfc0000
\ts_cbranch_scc0 BB4                                          ; bf840004
\ts_endpgm                                                    ; bf810000
";
    let expected = Turn {
        multiply_adds: 3,
        matrix_products: 0,
        local_reads: 3,
        local_bytes: 16 + 16 + 4,
        local_writes: 1,
        buffer_reads: 1,
        buffer_bytes: 16,
        instructions: 13,
    };
    assert_eq!(Turn::of(text), Some(expected));
}

#[test]
fn packed_dual_and_matrix_instructions_count_as_what_they_compute() {
    let text = "\
BB0:
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6    ; c8000000
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mov_b32 v4, v5         ; c8100000
\tv_pk_fma_f32 v[0:1], v[2:3], v[4:5], v[0:1]                 ; d3b00000
\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]   ; cc404000
\tds_load_2addr_b64 v[0:3], v4 offset1:1                      ; d9dc0100
\tds_load_u16 v0, v4                                          ; d8f00000
\tds_store_b16 v0, v4                                         ; d87c0000
\tbuffer_load_b64 v[0:1], v4, s[0:3], 0 offen                 ; e0540000
\ts_cbranch_scc1 BB0                                          ; bfa20000
";
    let expected = Turn {
        multiply_adds: 2 + 1 + 2,
        matrix_products: 1,
        local_reads: 2,
        local_bytes: 16 + 2,
        local_writes: 1,
        buffer_reads: 1,
        buffer_bytes: 8,
        instructions: 9,
    };
    assert_eq!(Turn::of(text), Some(expected));
}

#[test]
fn a_text_without_a_loop_that_multiplies_has_no_main_loop() {
    assert_eq!(Turn::of(""), None);
    assert_eq!(
        Turn::of("BB0:\n\tv_fma_f32 v1, v2, v3, v4 ; d54b\n\ts_branch BB1 ; bf82\nBB1:\n\ts_endpgm ; bf81\n"),
        None
    );
    assert_eq!(Turn::of("BB0:\n\tv_mov_b32_e32 v1, v2 ; 7e02\n\ts_cbranch_scc1 BB0 ; bf85\n"), None);
}
