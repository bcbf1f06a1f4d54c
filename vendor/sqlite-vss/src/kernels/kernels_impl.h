// The body of the distance kernels, written once. Each kernels_<level>.cpp defines a `Simd` (how wide a vector is, and
// the few operations that compilers do not find by themselves) and instantiates this for its own instruction set.
//
// Everything here has internal linkage and calls no function of the standard library: an inline function that two
// levels share would be compiled for both, and the linker might keep the copy that the CPU cannot run.
#pragma once

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/prefetch.h"
#include "kernels/kernels_table.h"

namespace vss {
namespace {

// --- Masks for the elements past the last whole vector ---------------------------------------------------------------
// The last vector is loaded so that it ends with the row; what was counted already is masked off. So no load reaches
// past a row, and no tail is copied, unless a row is shorter than one vector.
constexpr std::size_t mask_lanes = 32;

template <class Lane>
struct Masks {
    Lane lane[2 * mask_lanes] = {};
    constexpr Masks() {
        for (std::size_t i = mask_lanes; i < 2 * mask_lanes; ++i) {
            lane[i] = -1;
        }
    }
    // Where to load a mask that keeps the last `kept` of `width` lanes.
    [[nodiscard]] const Lane* keep_last(std::size_t width, std::size_t kept) const {
        return lane + mask_lanes - width + kept;
    }
};
alignas(64) constexpr Masks<std::int32_t> masks32;
alignas(64) constexpr Masks<std::int16_t> masks16;

template <class Vector>
inline Vector load_as(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

// --- Element types, read as float32 --------------------------------------------------------------------------------
using F4 [[gnu::vector_size(16)]] = float;
using I4 [[gnu::vector_size(16)]] = std::int32_t;
using U16x4 [[gnu::vector_size(8)]] = std::uint16_t;
using I8x4 [[gnu::vector_size(4)]] = std::int8_t;

// Half precision without instructions for it. Infinity and NaN are not stored, so they are not provided for. No
// subnormal float32 is an operand: a host may have told the CPU to take those for zero.
inline F4 load4_float16(const std::byte* from) {
    const auto half = __builtin_convertvector(load_as<U16x4>(from), I4);
    const I4 normal = ((half & 0x7FFF) << 13) + (112 << 23);
    constexpr std::int32_t base = 113 << 23;
    const I4 raised = ((half & 0x3FF) << 13) | base;
    const F4 subnormal = reinterpret_cast<F4>(raised) - reinterpret_cast<F4>(I4{base, base, base, base});
    const I4 is_subnormal = (half & 0x7C00) == 0;
    const I4 magnitude = (is_subnormal & reinterpret_cast<I4>(subnormal)) | (~is_subnormal & normal);
    return reinterpret_cast<F4>(magnitude | ((half & 0x8000) << 16));
}

inline F4 load4_bfloat16(const std::byte* from) {
    return reinterpret_cast<F4>(__builtin_convertvector(load_as<U16x4>(from), I4) << 16);
}

inline F4 load4_int8(const std::byte* from) {
    return __builtin_convertvector(load_as<I8x4>(from), F4);
}

struct Float32 {
    static constexpr std::size_t bytes = 4;
    static F4 load4(const std::byte* from) { return load_as<F4>(from); }
    template <class Simd>
    static typename Simd::F load(const std::byte* from) {
        return load_as<typename Simd::F>(from);
    }
};

struct Float16 {
    static constexpr std::size_t bytes = 2;
    static F4 load4(const std::byte* from) { return load4_float16(from); }
    template <class Simd>
    static typename Simd::F load(const std::byte* from) {
        return Simd::load_float16(from);
    }
};

struct BFloat16 {
    static constexpr std::size_t bytes = 2;
    static F4 load4(const std::byte* from) { return load4_bfloat16(from); }
    template <class Simd>
    static typename Simd::F load(const std::byte* from) {
        return Simd::load_bfloat16(from);
    }
};

struct Int8 {
    static constexpr std::size_t bytes = 1;
    static F4 load4(const std::byte* from) { return load4_int8(from); }
};

// --- What one pair of elements adds to a sum ---------------------------------------------------------------------
enum class Sum { squared_difference, absolute_difference, product };

template <class Simd, class Element>
struct FloatTerms {
    using Value = typename Simd::F;
    using Acc = typename Simd::F;
    using Result = float;
    static constexpr std::size_t width = Simd::width;
    static constexpr std::size_t bytes = Element::bytes;

    static Value load(const std::byte* from) { return Element::template load<Simd>(from); }

    static Value keep_last(Value v, std::size_t lanes) {
        using Mask = typename Simd::I;
        const auto mask = load_as<Mask>(masks32.keep_last(width, lanes));
        return reinterpret_cast<Value>(reinterpret_cast<Mask>(v) & mask);
    }

    template <Sum sum>
    static Acc add(Acc acc, Value a, Value b) {
        if constexpr (sum == Sum::squared_difference) {
            const Value d = a - b;
            return Simd::fma(d, d, acc);
        } else if constexpr (sum == Sum::absolute_difference) {
            return acc + Simd::abs(a - b);
        } else {
            return Simd::fma(a, b, acc);
        }
    }

    static void total4(const Acc& a, const Acc& b, const Acc& c, const Acc& d, float* out) {
        Simd::sum4(a, b, c, d, out);
    }
    static float total(const Acc& a) { return Simd::sum(a); }
};

// int8: exact sums in 32-bit integers that wrap. The largest, 65,536 squared differences of 255, fits an unsigned one,
// and products fit a signed one, which `signed_sum` reads.
static_assert(max_dimensions * 255 * 255 <= 0xFFFFFFFF && max_dimensions * 128 * 128 <= 0x7FFFFFFF);

template <class Simd>
struct Int8Terms {
    using Value = typename Simd::H;
    using Acc = typename Simd::I;
    using Result = std::uint32_t;
    static constexpr std::size_t width = Simd::int8_width;
    static constexpr std::size_t bytes = 1;

    static Value load(const std::byte* from) { return Simd::load_int8(from); }

    static Value keep_last(Value v, std::size_t lanes) { return v & load_as<Value>(masks16.keep_last(width, lanes)); }

    template <Sum sum>
    static Acc add(Acc acc, Value a, Value b) {
        if constexpr (sum == Sum::squared_difference) {
            const Value d = a - b;
            return Simd::multiply_add(acc, d, d);
        } else if constexpr (sum == Sum::absolute_difference) {
            const Value d = a - b;
            return Simd::multiply_add(acc, d < 0 ? -d : d, Value{} + 1);
        } else {
            return Simd::multiply_add(acc, a, b);
        }
    }

    static void total4(const Acc& a, const Acc& b, const Acc& c, const Acc& d, std::uint32_t* out) {
        out[0] = total(a);
        out[1] = total(b);
        out[2] = total(c);
        out[3] = total(d);
    }
    static std::uint32_t total(const Acc& a) { return Simd::sum_integers(a); }
};

// --- The register block ------------------------------------------------------------------------------------------
// `Queries` x `Rows` sums in registers, each in `Parts` accumulators to hide the latency of adding. `with_squares`
// also sums the squares of each row, for cosine.
template <class Terms, Sum sum, std::size_t Queries, std::size_t Rows, std::size_t Parts, bool with_squares>
inline void block(const std::byte* queries, std::size_t query_stride, const std::byte* rows, std::size_t stride,
                  std::size_t dim, std::size_t prefetch_distance, typename Terms::Result* sums,
                  typename Terms::Result* squares) {
    using Value = typename Terms::Value;
    using Acc = typename Terms::Acc;
    constexpr std::size_t width = Terms::width;
    constexpr std::size_t bytes = Terms::bytes;
    Acc acc[Queries][Rows][Parts] = {};
    [[maybe_unused]] Acc square[Rows] = {};

    const auto step = [&](std::size_t part, auto load) {
        Value row[Rows];
#pragma GCC unroll 8
        for (std::size_t r = 0; r < Rows; ++r) {
            row[r] = load(rows + r * stride);
            if constexpr (with_squares) {
                square[r] = Terms::template add<Sum::product>(square[r], row[r], row[r]);
            }
        }
#pragma GCC unroll 8
        for (std::size_t q = 0; q < Queries; ++q) {
            const Value query = load(queries + q * query_stride);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < Rows; ++r) {
                acc[q][r][part] = Terms::template add<sum>(acc[q][r][part], query, row[r]);
            }
        }
    };

    std::size_t i = 0;
    for (; i + Parts * width <= dim; i += Parts * width) {
        if (prefetch_distance != 0) {
#pragma GCC unroll 8
            for (std::size_t r = 0; r < Rows; ++r) {
                prefetch(rows + r * stride + i * bytes + prefetch_distance);
            }
        }
#pragma GCC unroll 8
        for (std::size_t part = 0; part < Parts; ++part) {
            const std::size_t at = (i + part * width) * bytes;
            step(part, [at](const std::byte* vector) { return Terms::load(vector + at); });
        }
    }
    for (; i + width <= dim; i += width) {
        const std::size_t at = i * bytes;
        step(0, [at](const std::byte* vector) { return Terms::load(vector + at); });
    }
    if (i < dim) {
        const std::size_t left = dim - i;
        if (dim >= width) {
            const std::size_t at = (dim - width) * bytes;
            step(0, [at, left](const std::byte* vector) { return Terms::keep_last(Terms::load(vector + at), left); });
        } else {
            step(0, [left](const std::byte* vector) {
                std::byte padded[Terms::width * Terms::bytes] = {};
                std::memcpy(padded, vector, left * Terms::bytes);
                return Terms::load(padded);
            });
        }
    }

    Acc whole[Queries * Rows];
#pragma GCC unroll 8
    for (std::size_t q = 0; q < Queries; ++q) {
#pragma GCC unroll 8
        for (std::size_t r = 0; r < Rows; ++r) {
            Acc a = acc[q][r][0];
#pragma GCC unroll 8
            for (std::size_t part = 1; part < Parts; ++part) {
                a += acc[q][r][part];
            }
            whole[q * Rows + r] = a;
        }
    }
    constexpr std::size_t in_fours = Queries * Rows / 4 * 4;
#pragma GCC unroll 8
    for (std::size_t s = 0; s < in_fours; s += 4) {
        Terms::total4(whole[s], whole[s + 1], whole[s + 2], whole[s + 3], sums + s);
    }
    if constexpr (in_fours < Queries * Rows) {
#pragma GCC unroll 8
        for (std::size_t s = in_fours; s < Queries * Rows; ++s) {
            sums[s] = Terms::total(whole[s]);
        }
    }
    if constexpr (with_squares) {
        for (std::size_t r = 0; r < Rows; ++r) {
            squares[r] = Terms::total(square[r]);
        }
    }
}

// --- From sums to distances --------------------------------------------------------------------------------------
constexpr Sum sum_of(Metric metric) {
    return metric == Metric::l2 ? Sum::squared_difference
                                : (metric == Metric::l1 ? Sum::absolute_difference : Sum::product);
}

// NaN asks for the exact distance instead: a square left the range in which float32 keeps its precision, or one of
// the vectors is zero.
inline float cosine_from(float product, float squares_a, float squares_b) {
    constexpr float low = 1e-30F;
    constexpr float high = 1e30F;
    if (!(squares_a > low && squares_a < high && squares_b > low && squares_b < high)) {
        return __builtin_nanf("");
    }
    const float distance = 1.0F - product / (__builtin_sqrtf(squares_a) * __builtin_sqrtf(squares_b));
    return distance < 0.0F ? 0.0F : (distance > 2.0F ? 2.0F : distance);
}

inline std::int32_t signed_sum(std::uint32_t sum) {
    return static_cast<std::int32_t>(sum);
}

inline float cosine_from(std::uint32_t product, std::uint32_t squares_a, std::uint32_t squares_b) {
    if (squares_a == 0 || squares_b == 0) {
        return 1.0F;
    }
    // The same double operations in every level (a division cannot be fused), so the results are equal.
    const double norms = __builtin_sqrt(static_cast<double>(squares_a) * static_cast<double>(squares_b));
    const double distance = 1.0 - static_cast<double>(signed_sum(product)) / norms;
    return static_cast<float>(distance < 0.0 ? 0.0 : (distance > 2.0 ? 2.0 : distance));
}

template <Metric metric>
inline float distance_from(float sum) {
    return metric == Metric::inner_product ? -sum : sum;
}

template <Metric metric>
inline float distance_from(std::uint32_t sum) {
    return metric == Metric::inner_product ? -static_cast<float>(signed_sum(sum)) : static_cast<float>(sum);
}

template <class Simd>
bool all_finite(const void* values, std::size_t n) {
    // 0 * x is NaN for what is not finite, and NaN stays in a sum.
    using F = typename Simd::F;
    constexpr std::size_t width = Simd::width;
    const auto* bytes = static_cast<const std::byte*>(values);
    F a{};
    F b{};
    std::size_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
        a += load_as<F>(bytes + i * sizeof(float)) * 0.0F;
        b += load_as<F>(bytes + (i + width) * sizeof(float)) * 0.0F;
    }
    float rest = Simd::sum(a + b);
    for (; i < n; ++i) {
        rest += load_as<float>(bytes + i * sizeof(float)) * 0.0F;
    }
    return rest == 0.0F;
}

// Sums that overflowed, or that cosine refused, are done again in double precision.
template <class Simd, ElementType type, Metric metric>
void repair(const std::byte* query, const std::byte* rows, std::size_t stride, std::size_t n, std::size_t dim,
            float* out) {
    if (all_finite<Simd>(out, n)) {
        return;
    }
    for (std::size_t i = 0; i < n; ++i) {
        if (!(out[i] - out[i] == 0.0F)) {
            out[i] = static_cast<float>(vss::exact_distance(type, metric, query, rows + i * stride, dim));
        }
    }
}

// --- One query ---------------------------------------------------------------------------------------------------
template <class Terms, Metric metric, std::size_t Rows, std::size_t Parts>
inline void one_block(const std::byte* query, const std::byte* rows, std::size_t stride, std::size_t dim,
                      std::size_t prefetch_distance, typename Terms::Result query_squares, float* out) {
    typename Terms::Result sums[Rows];
    [[maybe_unused]] typename Terms::Result squares[Rows];
    block<Terms, sum_of(metric), 1, Rows, Parts, metric == Metric::cosine>(query, 0, rows, stride, dim,
                                                                           prefetch_distance, sums, squares);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
        if constexpr (metric == Metric::cosine) {
            out[r] = cosine_from(sums[r], query_squares, squares[r]);
        } else {
            out[r] = distance_from<metric>(sums[r]);
        }
    }
}

template <class Terms>
typename Terms::Result squares_of(const std::byte* vector, std::size_t dim, std::size_t prefetch_distance = 0) {
    typename Terms::Result squares;
    block<Terms, Sum::product, 1, 1, 2, false>(vector, 0, vector, 0, dim, prefetch_distance, &squares, nullptr);
    return squares;
}

constexpr std::size_t long_row = 192;
// How far ahead rows are fetched that are read one after another, and several at a time. One stream is followed by the
// processor itself: fetching it farther ahead took a quarter more time on a Zen 4 with AVX2.
constexpr std::size_t ahead_of_one = 2048;
constexpr std::size_t ahead_of_several = 8192;

template <class Simd, class Terms, ElementType type, Metric metric>
void one(const void* query_bytes, const std::byte* rows, std::size_t stride, std::size_t n, std::size_t dim,
         float* out) {
    const auto* query = static_cast<const std::byte*>(query_bytes);
    typename Terms::Result query_squares{};
    if constexpr (metric == Metric::cosine) {
        query_squares = squares_of<Terms>(query, dim);
    }
    std::size_t i = 0;
    // Long rows of float32 are bound by memory, which one stream serves best; else rows share the query's loads (and
    // conversions) and the additions across lanes.
    if (type != ElementType::float32 || dim < long_row) {
        constexpr std::size_t rows_at_once = 4;
        for (; i + rows_at_once <= n; i += rows_at_once) {
            one_block<Terms, metric, rows_at_once, 2>(query, rows + i * stride, stride, dim, ahead_of_several,
                                                      query_squares, out + i);
        }
    }
    for (; i < n; ++i) {
        one_block<Terms, metric, 1, 2>(query, rows + i * stride, stride, dim, ahead_of_one, query_squares, out + i);
    }
    if constexpr (type != ElementType::int8) {
        repair<Simd, type, metric>(query, rows, stride, n, dim, out);
    }
}

// --- Many queries ------------------------------------------------------------------------------------------------
// Rows are taken in blocks that stay in the second-level cache while every query goes over them.
constexpr std::size_t batch_cache_bytes = 128 * 1024;

constexpr std::size_t batch_most_rows = 256;

// `squares`: those of the rows, for cosine; else not read.
template <class Terms, Metric metric, std::size_t Queries, std::size_t Rows, std::size_t Parts>
inline void batch_block(const std::byte* queries, std::size_t query_stride, const std::byte* rows, std::size_t stride,
                        std::size_t n, std::size_t dim, std::size_t prefetch_distance,
                        const typename Terms::Result* query_squares, const typename Terms::Result* squares,
                        float* out) {
    typename Terms::Result sums[Queries * Rows];
    block<Terms, sum_of(metric), Queries, Rows, Parts, false>(queries, query_stride, rows, stride, dim,
                                                              prefetch_distance, sums, nullptr);
#pragma GCC unroll 8
    for (std::size_t q = 0; q < Queries; ++q) {
#pragma GCC unroll 8
        for (std::size_t r = 0; r < Rows; ++r) {
            if constexpr (metric == Metric::cosine) {
                out[q * n + r] = cosine_from(sums[q * Rows + r], query_squares[q], squares[r]);
            } else {
                out[q * n + r] = distance_from<metric>(sums[q * Rows + r]);
            }
        }
    }
}

// `Queries` queries over `count` rows, in register blocks of `Rows`.
template <class Terms, Metric metric, std::size_t Queries, std::size_t Rows, std::size_t Parts>
inline void batch_rows(const std::byte* queries, std::size_t query_stride, const std::byte* rows, std::size_t stride,
                       std::size_t count, std::size_t n, std::size_t dim, std::size_t prefetch_distance,
                       const typename Terms::Result* squares, float* out) {
    typename Terms::Result query_squares[Queries] = {};
    if constexpr (metric == Metric::cosine) {
        for (std::size_t q = 0; q < Queries; ++q) {
            query_squares[q] = squares_of<Terms>(queries + q * query_stride, dim);
        }
    }
    std::size_t i = 0;
    for (; i + Rows <= count; i += Rows) {
        batch_block<Terms, metric, Queries, Rows, Parts>(queries, query_stride, rows + i * stride, stride, n, dim,
                                                         prefetch_distance, query_squares, squares + i, out + i);
    }
    for (; i < count; ++i) {
        batch_block<Terms, metric, Queries, 1, Parts>(queries, query_stride, rows + i * stride, stride, n, dim,
                                                      prefetch_distance, query_squares, squares + i, out + i);
    }
}

template <class Simd, class Terms, ElementType type, Metric metric>
void batch(const std::byte* queries, std::size_t nq, std::size_t query_stride, const std::byte* rows,
           std::size_t stride, std::size_t n, std::size_t dim, float* out) {
    constexpr std::size_t Queries = Simd::batch_queries;
    constexpr std::size_t Rows = Simd::batch_rows;
    typename Terms::Result squares[batch_most_rows] = {};
    std::size_t rows_in_cache = batch_cache_bytes / (stride == 0 ? 1 : stride) / Rows * Rows;
    rows_in_cache = rows_in_cache < Rows ? Rows : rows_in_cache;
    rows_in_cache = rows_in_cache > batch_most_rows ? batch_most_rows / Rows * Rows : rows_in_cache;
    for (std::size_t first = 0; first < n; first += rows_in_cache) {
        const std::size_t count = n - first < rows_in_cache ? n - first : rows_in_cache;
        const std::byte* const part = rows + first * stride;
        if constexpr (metric == Metric::cosine) {
            for (std::size_t i = 0; i < count; ++i) {
                squares[i] = squares_of<Terms>(part + i * stride, dim, ahead_of_one);
            }
        }
        // The first to go over the rows has them from memory.
        const auto ahead = [](std::size_t query) {
            return query == 0 && metric != Metric::cosine ? ahead_of_several : std::size_t{0};
        };
        std::size_t q = 0;
        for (; q + Queries <= nq; q += Queries) {
            batch_rows<Terms, metric, Queries, Rows, 1>(queries + q * query_stride, query_stride, part, stride, count,
                                                        n, dim, ahead(q), squares, out + q * n + first);
        }
        for (; q + 2 <= nq; q += 2) {
            batch_rows<Terms, metric, 2, 4, 1>(queries + q * query_stride, query_stride, part, stride, count, n, dim,
                                               ahead(q), squares, out + q * n + first);
        }
        if (q < nq) {
            batch_rows<Terms, metric, 1, 4, 2>(queries + q * query_stride, query_stride, part, stride, count, n, dim,
                                               ahead(q), squares, out + q * n + first);
        }
    }
    if constexpr (type != ElementType::int8) {
        for (std::size_t q = 0; q < nq; ++q) {
            repair<Simd, type, metric>(queries + q * query_stride, rows, stride, n, dim, out + q * n);
        }
    }
}

// --- Bits --------------------------------------------------------------------------------------------------------
template <class Simd>
void one_hamming(const void* query_bytes, const std::byte* rows, std::size_t stride, std::size_t n, std::size_t dim,
                 float* out) {
    const auto* query = static_cast<const std::byte*>(query_bytes);
    const std::size_t bytes = vector_bytes(ElementType::bit, dim);
    for (std::size_t i = 0; i < n; ++i) {
        const std::byte* row = rows + i * stride;
        prefetch(row + ahead_of_several);
        std::size_t at = 0;
        std::uint64_t bits = Simd::different_bits(query, row, bytes, at);
        for (; at + 8 <= bytes; at += 8) {
            bits += Simd::popcount(load_as<std::uint64_t>(query + at) ^ load_as<std::uint64_t>(row + at));
        }
        if (at < bytes) {
            std::uint64_t a = 0;
            std::uint64_t b = 0;
            for (std::size_t j = 0; j < bytes - at; ++j) {
                a |= static_cast<std::uint64_t>(query[at + j]) << (8 * j);
                b |= static_cast<std::uint64_t>(row[at + j]) << (8 * j);
            }
            bits += Simd::popcount(a ^ b);
        }
        out[i] = static_cast<float>(bits);
    }
}

template <class Simd>
void batch_hamming(const std::byte* queries, std::size_t nq, std::size_t query_stride, const std::byte* rows,
                   std::size_t stride, std::size_t n, std::size_t dim, float* out) {
    const std::size_t row_bytes = stride == 0 ? 1 : stride;
    const std::size_t rows_in_cache = batch_cache_bytes / row_bytes + 1;
    for (std::size_t first = 0; first < n; first += rows_in_cache) {
        const std::size_t count = n - first < rows_in_cache ? n - first : rows_in_cache;
        for (std::size_t q = 0; q < nq; ++q) {
            one_hamming<Simd>(queries + q * query_stride, rows + first * stride, stride, count, dim,
                              out + q * n + first);
        }
    }
}

// --- Exact sums --------------------------------------------------------------------------------------------------
// Eight lanes of double, lane i summing the elements i, i + 8, ...; then the lanes in one fixed order. Differences,
// squares and sums are rounded one by one (these sources are compiled without contraction to fused multiply-add), so
// every level on every machine comes to the same bits.
constexpr std::size_t exact_lanes = 8;

template <class Simd, class Element>
inline void load_doubles(const std::byte* from, typename Simd::D* out) {
    using D = typename Simd::D;
    using FloatsOfD = typename Simd::FloatsOfD;
    constexpr std::size_t lanes = sizeof(D) / sizeof(double);
    if constexpr (Element::bytes == sizeof(float)) {
#pragma GCC unroll 8
        for (std::size_t p = 0; p < exact_lanes / lanes; ++p) {
            out[p] = __builtin_convertvector(load_as<FloatsOfD>(from + p * lanes * sizeof(float)), D);
        }
    } else {
        const F4 halves[2] = {Element::load4(from), Element::load4(from + 4 * Element::bytes)};
#pragma GCC unroll 8
        for (std::size_t p = 0; p < exact_lanes / lanes; ++p) {
            out[p] = __builtin_convertvector(
                load_as<FloatsOfD>(reinterpret_cast<const std::byte*>(halves) + p * lanes * sizeof(float)), D);
        }
    }
}

template <class Simd, class Element, Sum sum>
double exact_sum(const std::byte* a, const std::byte* b, std::size_t dim) {
    using D = typename Simd::D;
    constexpr std::size_t lanes = sizeof(D) / sizeof(double);
    constexpr std::size_t parts = exact_lanes / lanes;
    D acc[parts] = {};
    const auto add = [&acc](const std::byte* from_a, const std::byte* from_b) {
        D x[parts];
        D y[parts];
        load_doubles<Simd, Element>(from_a, x);
        load_doubles<Simd, Element>(from_b, y);
#pragma GCC unroll 8
        for (std::size_t p = 0; p < parts; ++p) {
            if constexpr (sum == Sum::product) {
                acc[p] += x[p] * y[p];
            } else {
                const D d = x[p] - y[p];
                if constexpr (sum == Sum::squared_difference) {
                    acc[p] += d * d;
                } else {
                    acc[p] += d < 0 ? -d : d;
                }
            }
        }
    };
    constexpr std::size_t bytes = Element::bytes;
    std::size_t i = 0;
    for (; i + exact_lanes <= dim; i += exact_lanes) {
        add(a + i * bytes, b + i * bytes);
    }
    if (i < dim) {
        std::byte padded_a[exact_lanes * bytes] = {};
        std::byte padded_b[exact_lanes * bytes] = {};
        std::memcpy(padded_a, a + i * bytes, (dim - i) * bytes);
        std::memcpy(padded_b, b + i * bytes, (dim - i) * bytes);
        add(padded_a, padded_b);
    }
    double lane[exact_lanes];
    std::memcpy(lane, acc, sizeof lane);
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// --- The table ---------------------------------------------------------------------------------------------------
template <class Simd, class Terms, ElementType type, Metric metric>
constexpr DistanceKernels kernels_of() {
    return {&one<Simd, Terms, type, metric>, &batch<Simd, Terms, type, metric>};
}

template <class Simd, class Element, class Terms, ElementType type>
constexpr void fill(KernelTable& table) {
    constexpr auto t = static_cast<std::size_t>(type);
    DistanceKernels* row = table.distance[t];
    row[static_cast<std::size_t>(Metric::l2)] = kernels_of<Simd, Terms, type, Metric::l2>();
    row[static_cast<std::size_t>(Metric::inner_product)] = kernels_of<Simd, Terms, type, Metric::inner_product>();
    row[static_cast<std::size_t>(Metric::cosine)] = kernels_of<Simd, Terms, type, Metric::cosine>();
    row[static_cast<std::size_t>(Metric::l1)] = kernels_of<Simd, Terms, type, Metric::l1>();
    table.exact_l2[t] = &exact_sum<Simd, Element, Sum::squared_difference>;
    table.exact_l1[t] = &exact_sum<Simd, Element, Sum::absolute_difference>;
    table.exact_product[t] = &exact_sum<Simd, Element, Sum::product>;
}

template <class Simd>
constexpr KernelTable make_kernel_table() {
    KernelTable table{};
    fill<Simd, Float32, FloatTerms<Simd, Float32>, ElementType::float32>(table);
    fill<Simd, Float16, FloatTerms<Simd, Float16>, ElementType::float16>(table);
    fill<Simd, BFloat16, FloatTerms<Simd, BFloat16>, ElementType::bfloat16>(table);
    fill<Simd, Int8, Int8Terms<Simd>, ElementType::int8>(table);
    table.distance[static_cast<std::size_t>(ElementType::bit)][static_cast<std::size_t>(Metric::hamming)] = {
        &one_hamming<Simd>, &batch_hamming<Simd>};
    table.all_finite = &all_finite<Simd>;
    return table;
}

}  // namespace
}  // namespace vss
