#include "index/faiss/faiss_scalar.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#include <cstring>

#include "index/faiss/faiss_smallest.h"

namespace vss {
namespace {

#if defined(__AVX2__)
constexpr std::size_t lanes = 8;
#else
constexpr std::size_t lanes = 4;
#endif
using Lanes = float __attribute__((vector_size(lanes * sizeof(float))));

template <class T>
T load(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Compilers take the general form apart byte by byte.
Lanes floats_of(const std::uint8_t* bytes) {
#if defined(__AVX2__)
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(load<long long>(bytes))));
#elif defined(__SSE4_1__)
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(load<int>(bytes))));
#else
    using Bytes = std::uint8_t __attribute__((vector_size(lanes)));
    return __builtin_convertvector(load<Bytes>(bytes), Lanes);
#endif
}

// Of a code c Faiss makes least + width (c + 1/2) / 255. With `steps` = width / 255 and `offsets` = query - least -
// steps / 2 the difference from the query is offsets - steps c.
struct Squares {
    template <class T>
    static T add(const T& sum, const T& offset, const T& step, const T& code) {
        const T difference = offset - step * code;
        return sum + difference * difference;
    }
};

// With `steps` times the query, the product but for what is the same for all rows.
struct Products {
    template <class T>
    static T add(const T& sum, const T& /*offset*/, const T& step, const T& code) {
        return sum - step * code;
    }
};

template <class Terms>
float sum_of(const std::uint8_t* code, const float* offsets, const float* steps, std::size_t d) {
    constexpr std::size_t sums = 4;
    Lanes sum[sums] = {};
    std::size_t i = 0;
    for (; i + sums * lanes <= d; i += sums * lanes) {
        for (std::size_t s = 0; s < sums; ++s) {
            const std::size_t at = i + s * lanes;
            sum[s] = Terms::add(sum[s], load<Lanes>(offsets + at), load<Lanes>(steps + at), floats_of(code + at));
        }
    }
    const Lanes all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float out = 0;
    for (std::size_t l = 0; l < lanes; ++l) {
        out += all[l];
    }
    for (; i < d; ++i) {
        out = Terms::add(out, offsets[i], steps[i], static_cast<float>(code[i]));
    }
    return out;
}

template <class Terms>
void scan(const faiss::IndexScalarQuantizer& index, const std::vector<float>& offsets, const std::vector<float>& steps,
          const std::vector<std::uint64_t>* allowed, SmallestRows& nearest) {
    const auto rows = static_cast<std::size_t>(index.ntotal);
    const auto d = static_cast<std::size_t>(index.d);
    for (std::size_t row = 0; row < rows; ++row) {
        if (!is_allowed(allowed, row)) {
            continue;
        }
        const float distance = sum_of<Terms>(index.codes.data() + row * d, offsets.data(), steps.data(), d);
        if (nearest.takes(distance)) {
            nearest.push({distance, static_cast<std::int32_t>(row)});
        }
    }
}

}  // namespace

bool is_of_bytes(const faiss::IndexScalarQuantizer& index) {
    return index.sq.qtype == faiss::ScalarQuantizer::QT_8bit && index.code_size == static_cast<std::size_t>(index.d) &&
           index.sq.trained.size() == 2 * static_cast<std::size_t>(index.d) &&
           (index.metric_type == faiss::METRIC_L2 || index.metric_type == faiss::METRIC_INNER_PRODUCT);
}

void scan_bytes(const faiss::IndexScalarQuantizer& index, const float* query, std::size_t k,
                const std::vector<std::uint64_t>* allowed, std::vector<std::uint32_t>& out) {
    const auto d = static_cast<std::size_t>(index.d);
    const bool is_l2 = index.metric_type == faiss::METRIC_L2;
    constexpr float most = 255;
    std::vector<float> offsets(d);
    std::vector<float> steps(d);
    for (std::size_t i = 0; i < d; ++i) {
        steps[i] = index.sq.trained[d + i] / most;
        offsets[i] = query[i] - index.sq.trained[i] - steps[i] / 2;
        steps[i] *= is_l2 ? 1 : query[i];
    }
    SmallestRows nearest(k);
    (is_l2 ? scan<Squares> : scan<Products>)(index, offsets, steps, allowed, nearest);
    nearest.take(out);
}

}  // namespace vss
