// Kernels of the cells: rotation, sign codes and their scan, small-integer inner products. One table per instruction
// set, filled by code_kernels_<level>.cpp from the one body in code_kernels_impl.h, picked at run time.
//
// All levels agree exactly on integer sums. Float sums may differ in the last bits, which is why whoever stores codes
// never compares them with codes made elsewhere. `padded` is a multiple of 64. No allocation, no exceptions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu.h"

namespace vss {

// Codes are scanned in blocks of this many rows, laid out in structure-of-arrays (codes.h).
inline constexpr std::size_t block_rows = 32;
// Vectors that one panel interleaves.
inline constexpr std::size_t panel_width = 16;

// Sums over a residual r = x - c that the estimator's factors are made of; s is the vector of signs (+1, -1) of r.
struct SignSums {
    float absolute = 0;  // sum of |r_i|, that is <r, s>
    float square = 0;    // |r|^2
    float center = 0;    // <c, s>
};

// A query prepared for scanning: 16 table entries (of 0 to 63) for each group of 4 dimensions.
struct ScanTables {
    const std::uint8_t* entries = nullptr;  // padded / 4 * 16 bytes, 32-byte aligned
    float step = 0;                         // <u, q> is about step * sum of entries + base, u the bits of a code
    float base = 0;
};

// Rows farther out than so many deviations are counted on their own.
inline constexpr float far_deviations = 3;

// By cell: where it is from the query (CellDirectory's offset), mean and deviation of its rows' distances to the
// centroid, that of the row farthest out where it is known to be beyond three deviations (else 0), and how many rows it
// has.
struct CellFacts {
    const float* offsets;
    const float* radii;
    const float* spreads;
    const float* farthest;
    const float* rows;
};

// How cosines are got back from estimates of one cell's entries (cell_model.h): r = radius * |rescale|, and
// t = (offset + square * r^2 - estimate) * scale / r, where estimate = value + slack + shift * |rescale|.
struct CosineTerms {
    float radius = 0;
    float offset = 0;
    float square = 0;  // 1: squared distances, 0: products
    float scale = 0;
    float slack = 0;
    float shift = 0;
};
// Sums over entries, each of them counted by how well its t is known, 1 / (1 + (r / |q - c|)^2): of that weight, of t,
// of t^2, and of what r, which is not known well, adds to the error.
struct CosineSums {
    float count = 0;
    float first = 0;
    float second = 0;
    float blur = 0;
};
// Of all cells: the chance that a row is nearer than `limit`.
struct ChanceTerms {
    float limit = 0;
    float square = 0;  // as above
    float scale = 0;   // of products; that of squared distances follows from each cell's offset
    float mean = 0;    // of the cosines
    float root = 0;    // 1 / their deviation
};

struct CodeKernels {
    // In place: 4 rounds of sign flips and fast Hadamard transforms. `flips`: 4 * padded bits.
    void (*rotate)(float* v, std::size_t padded, const std::uint8_t* flips);
    // Bits of r = x - c (1: not negative), padded / 8 bytes, least significant bit first. c may be null: zero.
    void (*encode_signs)(const float* x, const float* c, std::size_t padded, std::uint8_t* bits, SignSums& sums);
    // entries: padded / 4 * 16 bytes.
    void (*make_tables)(const float* q, std::size_t padded, std::uint8_t* entries, float& step, float& base);
    // The sums of table entries for the 32 rows of a block's codes (padded / 8 * 32 bytes).
    void (*sum_entries)(const std::uint8_t* codes, const std::uint8_t* entries, std::size_t padded, float* sums);
    // A block as codes.h lays it out: estimates[i] = add[i] + rescale[i] * (step * sum + base) + offset; the bits of
    // the result say which are below `threshold`. The block at `ahead` is fetched from memory meanwhile, line by line,
    // as more requests at once than the processor has buffers for would stall it.
    std::uint32_t (*scan)(const std::byte* block, const std::byte* ahead, const ScanTables& tables, std::size_t padded,
                          float offset, float threshold, float* estimates);
    // Unsigned bytes against signed ones in [-63, 63].
    std::int32_t (*dot_u8)(const std::uint8_t* a, const std::int8_t* q, std::size_t padded);
    // Packed nibbles (byte i of each 32: element i low, element 32 + i high, per 64 elements) against [-127, 127].
    std::int32_t (*dot_u4)(const std::uint8_t* a, const std::int8_t* q, std::size_t padded);
    // The same for n of them, `stride` bytes apart.
    void (*dots_u4)(const std::uint8_t* a, std::size_t stride, std::size_t n, const std::int8_t* q, std::size_t padded,
                    std::int32_t* out);
    float (*dot)(const float* a, const float* b, std::size_t padded);
    // out += scale * x
    void (*add_scaled)(float* out, const float* x, float scale, std::size_t padded);
    // out[i] = scale * (a[i] - 128)
    void (*expand_u8)(const std::uint8_t* a, float scale, std::size_t padded, float* out);
    // out[i] = clamp(round(x[i] * inverse_step + zero), low, high), as bytes
    void (*quantize)(const float* x, float inverse_step, float zero, float low, float high, std::size_t padded,
                     std::uint8_t* out);
    float (*largest)(const float* x, std::size_t padded);  // of |x[i]|
    // Of n values with their numbers, moves the smallest to the front: at least `wanted` (all, if there are no more),
    // at most an eighth more, in their order. Returns how many; all that are left out are `limit` or more. Up to 7
    // values behind the last are overwritten, by this and by limit_of.
    std::size_t (*keep_smallest)(float* values, std::uint32_t* numbers, std::size_t n, std::size_t wanted,
                                 float& limit);
    // A limit below which are `wanted` of n values or some more, at most an eighth if they differ enough; n > wanted.
    float (*limit_of)(float* values, std::size_t n, std::size_t wanted);
    // The places, ascending, of the n values that are not below `low` and below `high`; how many there are.
    std::size_t (*places_between)(const float* values, std::size_t n, float low, float high, std::uint32_t* places);
    // Rows against the vectors of a panel: values[r * panel_width + j] = bias[j] - <rows[r], vector j>. The panel holds
    // element 0 of its vectors, then element 1 of each, and so on. masks[r] says, as bits, which are below limits[r].
    void (*panel)(const float* const* rows, std::size_t n, const float* vectors, const float* bias, std::size_t padded,
                  const float* limits, float* values, std::uint32_t* masks);
    // Adds what the first copies among the first `n` entries of a scanned block, but for `except`, say.
    void (*sum_cosines)(const std::byte* block, const float* values, std::size_t n, std::uint32_t except,
                        const CosineTerms& terms, CosineSums& sums);
    // out[i] = constant + square * norms[i]^2 + scores[i] * (by_norm * norms[i] + plain), for n a multiple of 8.
    void (*place_cells)(const float* scores, const float* norms, std::size_t n, const float* terms, float* out);
    // out[i] = rows[i] times the chance that a row of cell i is nearer than the limit; returns their sum. n is a
    // multiple of 8. Where rows[i] is 0 the rest may be anything.
    float (*expect_near)(const CellFacts& cells, std::size_t n, const ChanceTerms& terms, float* out);
};

[[nodiscard]] const CodeKernels& code_kernels(SimdLevel level = simd_level());

const CodeKernels& code_kernels_scalar();
const CodeKernels& code_kernels_avx2();
const CodeKernels& code_kernels_avx512();
const CodeKernels& code_kernels_neon();

}  // namespace vss
