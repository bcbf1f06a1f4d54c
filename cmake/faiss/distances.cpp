// What graphs, inverted lists, flat indexes and training of Faiss spend their time in, in the place of its own
// functions (CMakeLists.txt gives names to one or the other). Faiss 1.7.3 adds all terms of a distance up in one
// register, each addition waiting for the one before it; here there are four sums. And for training it looks for the
// nearest of 256 short centroids by a general product of matrices; here the centroids are read side by side. Written
// for the compiler's vectors, so that each level gets its own instructions.
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/utils/distances.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace faiss {
namespace {

// As many as a register has: compilers take wider ones apart one by one.
#ifdef __AVX__
constexpr size_t lanes = 8;
#else
constexpr size_t lanes = 4;
#endif
using Lanes = float __attribute__((vector_size(lanes * sizeof(float))));

using Places = int32_t __attribute__((vector_size(lanes * sizeof(int32_t))));

inline Lanes load(const float* at) {
    Lanes value;
    std::memcpy(&value, at, sizeof(value));
    return value;
}

struct Squares {
    template <class T>
    static T term(const T& a, const T& b) {
        return (a - b) * (a - b);
    }
};

struct Products {
    template <class T>
    static T term(const T& a, const T& b) {
        return a * b;
    }
};

template <class Terms>
inline float sum(const float* x, const float* y, size_t d) {
    Lanes a{}, b{}, c{}, e{};
    size_t i = 0;
    for (; i + 4 * lanes <= d; i += 4 * lanes) {
        a += Terms::term(load(x + i), load(y + i));
        b += Terms::term(load(x + i + lanes), load(y + i + lanes));
        c += Terms::term(load(x + i + 2 * lanes), load(y + i + 2 * lanes));
        e += Terms::term(load(x + i + 3 * lanes), load(y + i + 3 * lanes));
    }
    for (; i + lanes <= d; i += lanes) {
        a += Terms::term(load(x + i), load(y + i));
    }
    a = (a + b) + (c + e);
    float all = 0;
    for (size_t l = 0; l < lanes / 2; ++l) {
        all += a[l] + a[l + lanes / 2];
    }
    for (; i < d; ++i) {
        all += Terms::term(x[i], y[i]);
    }
    return all;
}

// Of each of nx vectors x the nearest of the ny vectors y, for dimensions so small that a product of matrices gains
// nothing. The squared distance is taken for the sum of y's square, -2 x y and, at the end, x's square.
constexpr size_t longest_short = 32;
constexpr size_t block = 4 * lanes;
constexpr size_t between_checks = 4096;

void nearest_of_short(const float* x, const float* y, size_t d, size_t nx, size_t ny, float* distances, int64_t* ids) {
    const size_t padded = (ny + block - 1) / block * block;
    // Row j holds component j of all y; the last one their squares, infinite where there is no y.
    std::vector<float> turned((d + 1) * padded, 0);
    float* const squares = turned.data() + d * padded;
    for (size_t i = 0; i < padded; ++i) {
        squares[i] = i < ny ? fvec_inner_product(y + i * d, y + i * d, d) : std::numeric_limits<float>::infinity();
        for (size_t j = 0; j < d && i < ny; ++j) {
            turned[j * padded + i] = y[i * d + j];
        }
    }
    for (size_t q = 0; q < nx; ++q, x += d) {
        if (q % between_checks == 0) {
            InterruptCallback::check();
        }
        Lanes best = Lanes{} + std::numeric_limits<float>::infinity();
        Places places{};
        Places at{};
        for (size_t l = 0; l < lanes; ++l) {
            at[l] = static_cast<int32_t>(l);
        }
        for (size_t i = 0; i < padded; i += block) {
            Lanes sums[4];
            for (size_t b = 0; b < 4; ++b) {
                sums[b] = load(squares + i + b * lanes);
            }
            for (size_t j = 0; j < d; ++j) {
                const float* const row = turned.data() + j * padded + i;
                const Lanes factor = Lanes{} - 2 * x[j];
                for (size_t b = 0; b < 4; ++b) {
                    sums[b] += factor * load(row + b * lanes);
                }
            }
            for (size_t b = 0; b < 4; ++b) {
                const Places nearer = sums[b] < best;
                best = nearer ? sums[b] : best;
                places = nearer ? at : places;
                at += static_cast<int32_t>(lanes);
            }
        }
        size_t lane = 0;
        for (size_t l = 1; l < lanes; ++l) {
            if (best[l] < best[lane] || (best[l] == best[lane] && places[l] < places[lane])) {
                lane = l;
            }
        }
        const float distance = best[lane] + fvec_inner_product(x, x, d);
        distances[q] = distance < 0 ? 0 : distance;
        ids[q] = places[lane];
    }
}

}  // namespace

// What IndexFlat.cpp calls for knn_L2sqr.
void knn_L2sqr_or_nearest(const float* x, const float* y, size_t d, size_t nx, size_t ny, float_maxheap_array_t* res,
                          const float* y_norm2, const IDSelector* sel) {
    constexpr size_t most = 1 << 16;
    if (res->k == 1 && sel == nullptr && d <= longest_short && nx >= block && ny >= block && ny <= most) {
        nearest_of_short(x, y, d, nx, ny, res->val, res->ids);
    } else {
        knn_L2sqr(x, y, d, nx, ny, res, y_norm2, sel);
    }
}

float fvec_L2sqr(const float* x, const float* y, size_t d) {
    return sum<Squares>(x, y, d);
}

float fvec_inner_product(const float* x, const float* y, size_t d) {
    return sum<Products>(x, y, d);
}

}  // namespace faiss
