// The body of the cells' kernels, written once. Each code_kernels_<level>.cpp defines a `Simd` with the few operations
// on bytes that compilers do not find by themselves, and fills its table from here.
//
// Everything has internal linkage and calls no function of the standard library: an inline function that two levels
// share would be compiled for both, and the linker might keep the copy that the CPU cannot run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/prefetch.h"
#include "kernels/code_kernels.h"

// All of this is inlined into one source, so how vectors cross a call does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace vss {
namespace {

using F8 [[gnu::vector_size(32)]] = float;
using I8 [[gnu::vector_size(32)]] = std::int32_t;

// For functions that are written for vectors of any width.
template <typename F>
struct WholeOf;
template <>
struct WholeOf<F8> {
    using Type = I8;
};
using F16 [[gnu::vector_size(64)]] = float;
using I16 [[gnu::vector_size(64)]] = std::int32_t;
template <>
struct WholeOf<F16> {
    using Type = I16;
};
template <typename F>
using Whole = typename WholeOf<F>::Type;

template <typename F>
inline F loaded(const float* from) {
    F v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <typename F>
inline F chosen(Whole<F> mask, F yes, F no) {
    return reinterpret_cast<F>((reinterpret_cast<Whole<F>>(yes) & mask) | (reinterpret_cast<Whole<F>>(no) & ~mask));
}
template <typename F>
inline F at_least(F a, F b) {
    return chosen<F>(a > b, a, b);
}
template <typename F>
inline F at_most(F a, float b) {
    return chosen<F>(a < b, a, F{} + b);
}

inline F8 load8(const float* from) {
    return loaded<F8>(from);
}
inline void store8(float* to, F8 v) {
    std::memcpy(to, &v, sizeof v);
}
inline F8 splat8(float x) {
    return F8{x, x, x, x, x, x, x, x};
}
inline F8 abs8(F8 v) {
    return reinterpret_cast<F8>(reinterpret_cast<I8>(v) & 0x7FFFFFFF);
}
inline float sum8(F8 v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}
inline F8 max8(F8 a, F8 b) {
    return at_least<F8>(a, b);
}

// --- Rotation --------------------------------------------------------------------------------------------------------

// Sign bits to flip for the 8 elements of one byte.
inline I8 flip_mask(std::uint8_t byte) {
    const I8 bits = I8{byte, byte, byte, byte, byte, byte, byte, byte} & I8{1, 2, 4, 8, 16, 32, 64, 128};
    return (bits != 0) & static_cast<std::int32_t>(0x80000000U);
}

// The unnormalised Hadamard transform of 8 elements, in a register.
inline F8 hadamard8(F8 v) {
    const F8 a = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
    v = a + reinterpret_cast<F8>(reinterpret_cast<I8>(v) ^ I8{0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN});
    const F8 b = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    v = b + reinterpret_cast<F8>(reinterpret_cast<I8>(v) ^ I8{0, 0, INT32_MIN, INT32_MIN, 0, 0, INT32_MIN, INT32_MIN});
    const F8 c = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    return c +
           reinterpret_cast<F8>(reinterpret_cast<I8>(v) ^ I8{0, 0, 0, 0, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN});
}

// n is a power of two, at least 64.
inline void hadamard(float* v, std::size_t n, float scale) {
    for (std::size_t i = 0; i < n; i += 64) {
        F8 a[8];
        for (std::size_t j = 0; j < 8; ++j) {
            a[j] = hadamard8(load8(v + i + 8 * j));
        }
        for (std::size_t h = 1; h < 8; h *= 2) {
            for (std::size_t j = 0; j < 8; ++j) {
                if ((j & h) == 0) {
                    const F8 x = a[j];
                    a[j] = x + a[j + h];
                    a[j + h] = x - a[j + h];
                }
            }
        }
        for (std::size_t j = 0; j < 8; ++j) {
            store8(v + i + 8 * j, a[j] * splat8(scale));
        }
    }
    for (std::size_t h = 64; h < n; h *= 2) {
        for (std::size_t i = 0; i < n; i += 2 * h) {
            for (std::size_t j = i; j < i + h; j += 8) {
                const F8 x = load8(v + j);
                const F8 y = load8(v + j + h);
                store8(v + j, x + y);
                store8(v + j + h, x - y);
            }
        }
    }
}

inline void rotate(float* v, std::size_t padded, const std::uint8_t* flips) {
    std::size_t power = 64;
    float scale = 0.125F;  // 1 / sqrt(power)
    while (power * 2 <= padded) {
        power *= 2;
        scale *= 0.70710678118654752F;
    }
    for (std::size_t round = 0; round < 4; ++round) {
        for (std::size_t i = 0; i < padded; i += 8) {
            const I8 mask = flip_mask(flips[(round * padded + i) / 8]);
            store8(v + i, reinterpret_cast<F8>(reinterpret_cast<I8>(load8(v + i)) ^ mask));
        }
        hadamard(round % 2 == 0 ? v : v + (padded - power), power, scale);
        if (power != padded) {
            const F8 half = splat8(0.70710678118654752F);
            for (std::size_t i = 0; i < padded / 2; i += 8) {
                const F8 x = load8(v + i);
                const F8 y = load8(v + i + padded / 2);
                store8(v + i, (x + y) * half);
                store8(v + i + padded / 2, (x - y) * half);
            }
        }
    }
}

// --- Floats ----------------------------------------------------------------------------------------------------------

inline float dot(const float* a, const float* b, std::size_t padded) {
    F8 s0 = {};
    F8 s1 = {};
    F8 s2 = {};
    F8 s3 = {};
    for (std::size_t i = 0; i < padded; i += 32) {
        s0 += load8(a + i) * load8(b + i);
        s1 += load8(a + i + 8) * load8(b + i + 8);
        s2 += load8(a + i + 16) * load8(b + i + 16);
        s3 += load8(a + i + 24) * load8(b + i + 24);
    }
    return sum8((s0 + s1) + (s2 + s3));
}

inline void add_scaled(float* out, const float* x, float scale, std::size_t padded) {
    const F8 factor = splat8(scale);
    for (std::size_t i = 0; i < padded; i += 8) {
        store8(out + i, load8(out + i) + load8(x + i) * factor);
    }
}

inline float largest(const float* x, std::size_t padded) {
    F8 most = {};
    for (std::size_t i = 0; i < padded; i += 8) {
        most = max8(most, abs8(load8(x + i)));
    }
    float out = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        out = most[i] > out ? most[i] : out;
    }
    return out;
}

inline void expand_u8(const std::uint8_t* a, float scale, std::size_t padded, float* out) {
    for (std::size_t i = 0; i < padded; ++i) {
        out[i] = scale * static_cast<float>(static_cast<std::int32_t>(a[i]) - 128);
    }
}

inline void quantize(const float* x, float inverse_step, float zero, float low, float high, std::size_t padded,
                     std::uint8_t* out) {
    for (std::size_t i = 0; i < padded; ++i) {
        float v = x[i] * inverse_step + zero;
        v = v > low ? v : low;  // and of what is not a number, as zero times an infinite inverse step
        v = v < high ? v : high;
        // The nearest integer, halves upwards; low is never below -127.
        out[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(v + 128.5F) - 128);
    }
}

inline void encode_signs(const float* x, const float* c, std::size_t padded, std::uint8_t* bits, SignSums& sums) {
    F8 absolute = {};
    F8 square = {};
    F8 center = {};
    for (std::size_t i = 0; i < padded; i += 8) {
        const F8 at = c == nullptr ? F8{} : load8(c + i);
        const F8 r = load8(x + i) - at;
        const I8 negative = r < F8{};
        absolute += abs8(r);
        square += r * r;
        center += reinterpret_cast<F8>(reinterpret_cast<I8>(at) ^ (negative & INT32_MIN));
        bits[i / 8] = static_cast<std::uint8_t>(~Simd::mask(negative));
    }
    sums = {sum8(absolute), sum8(square), sum8(center)};
}

// --- Scanning sign codes ---------------------------------------------------------------------------------------------

// Rounding can touch 64 where a sum is the whole range.
inline I8 entries_of(F8 values) {
    const I8 most = I8{63, 63, 63, 63, 63, 63, 63, 63};
    const I8 whole = __builtin_convertvector(values, I8);
    const I8 over = whole > most;
    const I8 capped = (whole & ~over) | (most & over);
    return capped & (capped >= 0);
}

inline void make_tables(const float* q, std::size_t padded, std::uint8_t* entries, float& step, float& base) {
    F8 sum = {};
    F8 absolute = {};
    F8 ranges = {};
    for (std::size_t i = 0; i < padded; i += 8) {
        const F8 v = load8(q + i);
        const F8 size = abs8(v);
        sum += v;
        absolute += size;
        const F8 pairs = size + __builtin_shufflevector(size, size, 1, 0, 3, 2, 5, 4, 7, 6);
        ranges = max8(ranges, pairs + __builtin_shufflevector(pairs, pairs, 2, 3, 0, 1, 6, 7, 4, 5));
    }
    const float range = ranges[0] > ranges[4] ? ranges[0] : ranges[4];
    step = range / 63;
    base = (sum8(sum) - sum8(absolute)) / 2;  // of the elements below zero
    const float inverse = range > 0 ? 63 / range : 0;
    constexpr F8 has0 = {0, 1, 0, 1, 0, 1, 0, 1};
    constexpr F8 has1 = {0, 0, 1, 1, 0, 0, 1, 1};
    constexpr F8 has2 = {0, 0, 0, 0, 1, 1, 1, 1};
    for (std::size_t i = 0; i < padded; i += 4) {
        // Entry b is the sum of the q of its set bits above the least such sum.
        const float q0 = q[i] * inverse;
        const float q1 = q[i + 1] * inverse;
        const float q2 = q[i + 2] * inverse;
        const float q3 = q[i + 3] * inverse;
        const float low = (q0 < 0 ? q0 : 0) + (q1 < 0 ? q1 : 0) + ((q2 < 0 ? q2 : 0) + (q3 < 0 ? q3 : 0));
        const F8 first = splat8(q0) * has0 + splat8(q1) * has1 + (splat8(q2) * has2 + splat8(0.5F - low));
        Simd::store_bytes(entries + i * 4, entries_of(first), entries_of(first + splat8(q3)));
    }
}

// Sums of u16 cannot overflow within this many pairs of code bytes: 4 entries of at most 63 each.
constexpr std::size_t pairs_per_flush = 256;

inline void sum_entries_ahead(const std::uint8_t* codes, const std::uint8_t* ahead, const std::uint8_t* entries,
                              std::size_t padded, float* sums) {
    const std::size_t pairs = padded / 16;
    for (std::size_t first = 0; first < pairs; first += pairs_per_flush) {
        const std::size_t count = pairs - first < pairs_per_flush ? pairs - first : pairs_per_flush;
        float part[block_rows];
        Simd::sum_pairs(codes + first * 64, ahead + first * 64, entries + first * 64, count, part);
        for (std::size_t i = 0; i < block_rows; ++i) {
            sums[i] = first == 0 ? part[i] : sums[i] + part[i];
        }
    }
}

inline void sum_entries(const std::uint8_t* codes, const std::uint8_t* entries, std::size_t padded, float* sums) {
    sum_entries_ahead(codes, codes, entries, padded, sums);
}

inline std::uint32_t scan(const std::byte* block, const std::byte* ahead, const ScanTables& tables, std::size_t padded,
                          float offset, float threshold, float* estimates) {
    constexpr std::size_t head = 12 * block_rows;
    prefetch(ahead, head);
    float sums[block_rows];
    sum_entries_ahead(reinterpret_cast<const std::uint8_t*>(block + head),
                      reinterpret_cast<const std::uint8_t*>(ahead + head), tables.entries, padded, sums);
    const auto* add = reinterpret_cast<const float*>(block + 4 * block_rows);
    const auto* rescale = add + block_rows;
    std::uint32_t below = 0;
    for (std::size_t i = 0; i < block_rows; i += 8) {
        const F8 inner = splat8(tables.step) * load8(sums + i) + splat8(tables.base);
        const F8 estimate = load8(add + i) + load8(rescale + i) * inner + splat8(offset);
        store8(estimates + i, estimate);
        below |= static_cast<std::uint32_t>(Simd::mask(estimate < splat8(threshold))) << i;
    }
    return below;
}

inline void dots_u4(const std::uint8_t* a, std::size_t stride, std::size_t n, const std::int8_t* q, std::size_t padded,
                    std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        out[i] = Simd::dot_u4(a + i * stride, q, padded);
    }
}

// --- Selecting -------------------------------------------------------------------------------------------------------

// Values padded to a multiple of 8.
inline std::size_t count_below(const float* values, std::size_t n, float limit) {
    I8 count = {};
    I8 other = {};
    const F8 limits = splat8(limit);
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        count -= load8(values + i) < limits;
        other -= load8(values + i + 8) < limits;
    }
    if (i < n) {
        count -= load8(values + i) < limits;
    }
    count += other;
    std::size_t sum = 0;
    for (i = 0; i < 8; ++i) {
        sum += static_cast<std::size_t>(count[i]);
    }
    return sum;
}

// Floats as integers of the same order, and back.
inline std::int32_t order_of(float value) {
    std::int32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}
inline float value_of(std::int64_t order) {
    auto bits = static_cast<std::int32_t>(order);
    bits = bits < 0 ? bits ^ 0x7FFFFFFF : bits;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Halving {
    float low;   // below it are fewer than wanted
    float high;  // the next float, if not `found`; else below it are as many as wanted, or up to an eighth more
    bool found;
};

// Halving the range of values and counting takes a few passes without a branch to guess; selecting by comparisons
// guesses wrong half of the time. Halved as floats some times, which is enough for most values; then as integers, so
// that whatever lies far out costs no precision.
inline Halving halve(float* values, std::size_t n, std::size_t wanted) {
    constexpr float infinity = __builtin_inff();
    const std::size_t padded = (n + 7) / 8 * 8;
    for (std::size_t i = n; i < padded; ++i) {
        values[i] = infinity;
    }
    F8 least = splat8(infinity);
    F8 most = splat8(-infinity);
    for (std::size_t i = 0; i < n / 8 * 8; i += 8) {
        const F8 v = load8(values + i);
        least = -max8(-least, -v);
        most = max8(most, v);
    }
    float first = infinity;
    float last = -infinity;
    for (std::size_t i = n / 8 * 8; i < n; ++i) {
        first = values[i] < first ? values[i] : first;
        last = values[i] > last ? values[i] : last;
    }
    for (std::size_t i = 0; i < 8; ++i) {
        first = least[i] < first ? least[i] : first;
        last = most[i] > last ? most[i] : last;
    }
    std::int64_t low = order_of(first);
    std::int64_t high = std::int64_t{order_of(last)} + 1;  // behind infinity is none
    constexpr int times_as_floats = 8;
    for (int times = 0; high - low > 1; ++times) {
        std::int64_t middle = low + (high - low) / 2;
        if (times < times_as_floats) {
            const float half = value_of(low) / 2 + value_of(high) / 2;
            const std::int64_t at = half == half ? order_of(half) : middle;
            middle = at > low && at < high ? at : middle;
        }
        const std::size_t below = count_below(values, padded, value_of(middle));
        if (below < wanted) {
            low = middle;
        } else if (below <= wanted + wanted / 8) {
            return {value_of(low), value_of(middle), true};
        } else {
            high = middle;
        }
    }
    return {value_of(low), value_of(high), false};
}

inline float limit_of(float* values, std::size_t n, std::size_t wanted) {
    const float high = halve(values, n, wanted).high;
    return high == high ? high : __builtin_inff();
}

inline std::size_t keep_smallest(float* values, std::uint32_t* numbers, std::size_t n, std::size_t wanted,
                                 float& limit) {
    if (n <= wanted) {
        return n;
    }
    const Halving at = halve(values, n, wanted);
    limit = at.high;
    std::size_t kept = 0;
    if (at.found) {
        for (std::size_t i = 0; i < n; ++i) {
            const float value = values[i];
            values[kept] = value;
            numbers[kept] = numbers[i];
            kept += value < at.high ? 1 : 0;
        }
        return kept;
    }
    // Where values are equal, as many of them as make `wanted`.
    limit = at.low;
    std::size_t spare = wanted - count_below(values, (n + 7) / 8 * 8, at.low);
    for (std::size_t i = 0; i < n; ++i) {
        const float value = values[i];
        const bool equal = value == at.low && spare > 0;
        values[kept] = value;
        numbers[kept] = numbers[i];
        kept += value < at.low || equal ? 1 : 0;
        spare -= equal ? 1 : 0;
    }
    return kept;
}

inline std::size_t places_between(const float* values, std::size_t n, float low, float high, std::uint32_t* places) {
    std::size_t count = 0;
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const F8 v = load8(values + i);
        unsigned bits = Simd::mask((v >= splat8(low)) & (v < splat8(high)));
        for (; bits != 0; bits &= bits - 1) {
            places[count++] = static_cast<std::uint32_t>(i) + static_cast<std::uint32_t>(__builtin_ctz(bits));
        }
    }
    for (; i < n; ++i) {
        places[count] = static_cast<std::uint32_t>(i);
        count += values[i] >= low && values[i] < high ? 1 : 0;
    }
    return count;
}

// --- Matrix products -------------------------------------------------------------------------------------------------

using Lanes = Simd::Lanes;
constexpr std::size_t lanes_wide = sizeof(Lanes) / sizeof(float);
constexpr std::size_t panel_parts = panel_width / lanes_wide;

// `count` rows at a time, so that each load from the panel serves all of them and the sums stay in registers.
template <std::size_t count>
inline void panel_rows(const float* const* rows, const float* vectors, const float* bias, std::size_t padded,
                       const float* limits, float* values, std::uint32_t* masks) {
    const auto load = [](const float* from) {
        Lanes v;
        std::memcpy(&v, from, sizeof v);
        return v;
    };
    Lanes sums[count][panel_parts] = {};
    for (std::size_t i = 0; i < padded; ++i) {
        Lanes part[panel_parts];
#pragma GCC unroll 4
        for (std::size_t p = 0; p < panel_parts; ++p) {
            part[p] = load(vectors + i * panel_width + p * lanes_wide);
        }
#pragma GCC unroll 8
        for (std::size_t r = 0; r < count; ++r) {
            const Lanes x = rows[r][i] - Lanes{};
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panel_parts; ++p) {
                sums[r][p] += x * part[p];
            }
        }
    }
    for (std::size_t r = 0; r < count; ++r) {
        masks[r] = 0;
        for (std::size_t p = 0; p < panel_parts; ++p) {
            const Lanes value = load(bias + p * lanes_wide) - sums[r][p];
            std::memcpy(values + r * panel_width + p * lanes_wide, &value, sizeof value);
            masks[r] |= static_cast<std::uint32_t>(Simd::mask(value < limits[r] - Lanes{})) << (p * lanes_wide);
        }
    }
}

inline void panel(const float* const* rows, std::size_t n, const float* vectors, const float* bias, std::size_t padded,
                  const float* limits, float* values, std::uint32_t* masks) {
    constexpr std::size_t most = Simd::panel_rows;
    std::size_t r = 0;
    for (; r + most <= n; r += most) {
        panel_rows<most>(rows + r, vectors, bias, padded, limits + r, values + r * panel_width, masks + r);
    }
    for (; r + 4 <= n; r += 4) {
        panel_rows<4>(rows + r, vectors, bias, padded, limits + r, values + r * panel_width, masks + r);
    }
    for (; r + 2 <= n; r += 2) {
        panel_rows<2>(rows + r, vectors, bias, padded, limits + r, values + r * panel_width, masks + r);
    }
    for (; r < n; ++r) {
        panel_rows<1>(rows + r, vectors, bias, padded, limits + r, values + r * panel_width, masks + r);
    }
}

// --- What is expected of cells ---------------------------------------------------------------------------------------

inline I8 load8i(const void* from) {
    I8 v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void sum_cosines(const std::byte* block, const float* values, std::size_t n, std::uint32_t except,
                        const CosineTerms& terms, CosineSums& sums) {
    const auto* rescale = reinterpret_cast<const float*>(block + 8 * block_rows);
    F8 count = {};
    F8 first = {};
    F8 second = {};
    F8 blur = {};
    const F8 ones = splat8(1);
    for (std::size_t i = 0; i < n; i += 8) {
        const I8 entry = load8i(block + i * 4);
        const I8 lane = I8{0, 1, 2, 3, 4, 5, 6, 7} + static_cast<std::int32_t>(i);
        const F8 factor = abs8(load8(rescale + i));
        const F8 r = splat8(terms.radius) * factor;
        const F8 estimate = load8(values + i) + splat8(terms.slack) + splat8(terms.shift) * factor;
        const F8 by = splat8(terms.scale) / r;
        const F8 t = (splat8(terms.offset) + splat8(terms.square) * r * r - estimate) * by;
        const F8 size = abs8(t);
        const I8 use = (entry >= 0) & (entry != static_cast<std::int32_t>(except)) &
                       (lane < static_cast<std::int32_t>(n)) & (size < splat8(4));
        const F8 ratio = splat8(2 * terms.square * terms.scale) * r;
        const F8 weight = ones / (ones + ratio * ratio);
        const F8 kept = chosen<F8>(use, weight * t, F8{});
        count += chosen<F8>(use, weight, F8{});
        first += kept;
        second += chosen<F8>(use, kept * t, F8{});
        blur += chosen<F8>(use, weight * ratio * ratio, F8{});
    }
    sums.count += sum8(count);
    sums.first += sum8(first);
    sums.second += sum8(second);
    sums.blur += sum8(blur);
}

inline void place_cells(const float* scores, const float* norms, std::size_t n, const float* terms, float* out) {
    for (std::size_t i = 0; i < n; i += 8) {
        const F8 norm = load8(norms + i);
        store8(out + i, splat8(terms[0]) + splat8(terms[1]) * norm * norm +
                            load8(scores + i) * (splat8(terms[2]) * norm + splat8(terms[3])));
    }
}

// 1 / sqrt(v) to some 5e-6.
template <typename F>
F inverse_root(F v) {
    F y = reinterpret_cast<F>(0x5F3759DF - (reinterpret_cast<Whole<F>>(v) >> 1));
    const F half = v * 0.5F;
    y = y * (1.5F - half * y * y);
    return y * (1.5F - half * y * y);
}

// 2^-v for v from 0 to 120.
template <typename F>
F power(F v) {
    const auto whole = __builtin_convertvector(v, Whole<F>);
    const F part = v - __builtin_convertvector(whole, F);
    const F fraction = 1.0F - part * (0.693147F - part * (0.240165F - part * (0.0548F - part * 0.00788F)));
    return fraction * reinterpret_cast<F>((127 - whole) << 23);
}

// The chance that a normal number is above z, to some 2 % of it (0.5 exp(-0.717 z - 0.416 z^2)), with a small part
// whose tail is long: rows that are kin are nearer to a query than directions at random allow.
template <typename F>
F above(F z) {
    constexpr float base = 1.442695F;  // log2 e
    const F size = at_most<F>(reinterpret_cast<F>(reinterpret_cast<Whole<F>>(z) & 0x7FFFFFFF), 13.0F);
    const F normal = 0.496F * power<F>(size * (0.717F * base + (0.416F * base) * size));
    const F tail = normal + 0.004F * power<F>(size * (1.2F * base));
    return chosen<F>(z >= F{}, tail, 1.0F - tail);
}

// The number that a normal one of deviation 1 is above as often as a cosine of the variance 1 / root^2 is above t, in
// as many dimensions: z^2 = -log(1 - t^2) * root^2, by the beginning of its series; beyond 1 it goes on rising, softly,
// as t is not known to the last digit.
template <typename F>
F normal_of_cosine(F t, float root) {
    const F inside = at_least<F>(at_most<F>(t, 1.0F), F{} - 1.0F);
    const F square = inside * inside;
    const F series = inside * (1.0F + square * (0.25F + square * (0.1354F + square * 0.0911F)));
    return (series + 2.3F * (t - inside)) * root;
}

// For as many cells as F holds, from the one at `i` on.
template <typename F>
F expect_of(const CellFacts& cells, std::size_t i, const ChanceTerms& terms) {
    const F offset = at_least<F>(loaded<F>(cells.offsets + i), F{} + (terms.square > 0 ? 1e-30F : -1e30F));
    const F radius = loaded<F>(cells.radii + i);
    const F spread = loaded<F>(cells.spreads + i);
    const F weight = loaded<F>(cells.rows + i);
    const F by = terms.square > 0 ? 0.5F * inverse_root<F>(offset) : F{} + terms.scale;
    const F beyond = (offset - terms.limit) * by;
    const F along = terms.square * by;
    const F far = radius + spread;
    const F near = at_least<F>(radius - spread, 0.1F * radius);
    // Three distances stand for all, some rows far out among them, which inner products and queries from elsewhere
    // seek: the farther one of them is known to be, the fewer, as their part in the deviation stays the same.
    const F three = far_deviations * spread;
    const F farthest = at_least<F>(loaded<F>(cells.farthest + i), radius + three);
    const F beside = farthest - radius;
    const F some = 0.04F * (three * three) / at_least<F>(beside * beside, F{} + 1e-30F);
    // What lies far out does so in a direction of its own.
    const float own_mean = terms.mean > 0 ? terms.mean : 0;
    const F by_both = beyond / (near * far);
    const F chance = 0.48F * above<F>(normal_of_cosine<F>(by_both * far + along * near - terms.mean, terms.root)) +
                     0.48F * above<F>(normal_of_cosine<F>(by_both * near + along * far - terms.mean, terms.root)) +
                     some * above<F>(normal_of_cosine<F>(beyond / farthest + along * farthest - own_mean, terms.root));
    // What is not a number, in a damaged table only, may be near.
    const F sound = chosen<F>(chance >= F{}, chance, F{} + 1.0F);
    return chosen<F>(weight > F{}, weight * sound, F{});
}

inline float expect_near(const CellFacts& cells, std::size_t n, const ChanceTerms& terms, float* out) {
    std::size_t i = 0;
    float whole = 0;
    if constexpr (lanes_wide == 16) {
        F16 sum = {};
        for (; i + 16 <= n; i += 16) {
            const F16 expected = expect_of<F16>(cells, i, terms);
            std::memcpy(out + i, &expected, sizeof expected);
            sum += expected;
        }
        F8 halves[2];
        std::memcpy(halves, &sum, sizeof sum);
        whole = sum8(halves[0] + halves[1]);
    }
    F8 sum = {};
    for (; i < n; i += 8) {
        const F8 expected = expect_of<F8>(cells, i, terms);
        store8(out + i, expected);
        sum += expected;
    }
    return whole + sum8(sum);
}

constexpr CodeKernels table = {
    rotate, encode_signs, make_tables, sum_entries, scan,    Simd::dot_u8,  Simd::dot_u4, dots_u4,
    dot,    add_scaled,   expand_u8,   quantize,    largest, keep_smallest, limit_of,     places_between,
    panel,  sum_cosines,  place_cells, expect_near,
};

}  // namespace
}  // namespace vss
