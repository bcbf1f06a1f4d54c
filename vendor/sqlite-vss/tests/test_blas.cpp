// Matrix products: the built-in ones, and Fortran's names for whichever serves them, against the definition.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/settings.h"
#include "kernels/blas_builtin.h"
#include "kernels/blas_shim.h"

extern "C" int ssyrk_(const char*, const char*, const int*, const int*, const float*, const float*, const int*,
                      const float*, float*, const int*);
extern "C" int sgeqrf_(const int*, const int*, float*, const int*, float*, float*, const int*, int*);

namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
    std::vector<float> values(count);
    for (float& value : values) {
        value = uniform(generator);
    }
    return values;
}

struct Product {
    bool transpose_a, transpose_b;
    int m, n, k;
    float alpha, beta;
};

// op(A) op(B) of column-major matrices, in double precision.
std::vector<double> by_definition(const Product& p, const std::vector<float>& a, int lda, const std::vector<float>& b,
                                  int ldb, const std::vector<float>& c, int ldc) {
    std::vector<double> out(c.begin(), c.end());
    for (int column = 0; column < p.n; ++column) {
        for (int row = 0; row < p.m; ++row) {
            double sum = 0;
            for (int i = 0; i < p.k; ++i) {
                const double left = p.transpose_a ? a[row * lda + i] : a[i * lda + row];
                const double right = p.transpose_b ? b[i * ldb + column] : b[column * ldb + i];
                sum += left * right;
            }
            const std::size_t at = static_cast<std::size_t>(column) * ldc + row;
            out[at] = p.alpha * sum + (p.beta == 0 ? 0 : p.beta * c[at]);
        }
    }
    return out;
}

const std::vector<Product> products = {
    {false, false, 1, 1, 1, 1.0F, 0.0F},     {true, false, 7, 5, 3, 1.0F, 0.0F},
    {false, true, 8, 4, 256, -2.0F, 1.0F},   {true, true, 9, 513, 257, 0.5F, 0.25F},
    {true, false, 130, 70, 384, 1.0F, 0.0F}, {false, false, 129, 5, 600, 1.0F, -1.0F},
    {false, false, 3, 3, 0, 1.0F, 0.5F},
};

template <typename Multiply>
void check(const Product& p, Multiply&& multiply) {
    CAPTURE(p.m);
    CAPTURE(p.n);
    CAPTURE(p.k);
    // Leading dimensions larger than needed: what lies between columns must stay untouched.
    const int lda = (p.transpose_a ? p.k : p.m) + 3;
    const int ldb = (p.transpose_b ? p.n : p.k) + 2;
    const int ldc = p.m + 1;
    const auto a = random_values(static_cast<std::size_t>(lda) * (p.transpose_a ? p.m : p.k + 1), 1);
    const auto b = random_values(static_cast<std::size_t>(ldb) * (p.transpose_b ? p.k + 1 : p.n), 2);
    auto c = random_values(static_cast<std::size_t>(ldc) * p.n, 3);
    const auto expected = by_definition(p, a, lda, b, ldb, c, ldc);
    multiply(p, a, lda, b, ldb, c, ldc);
    for (std::size_t i = 0; i < c.size(); ++i) {
        REQUIRE(c[i] == doctest::Approx(expected[i]).epsilon(1e-4));
    }
}

}  // namespace

// Stays the first case: the library must not be loaded when it begins.
TEST_CASE("the one setting for threads holds for matrix products, set before or after the library is loaded") {
    vss::set_threads(3);
    const int at_load = vss::blas_threads();
    const bool openblas = !vss::blas_description().starts_with("built in");
    CHECK(at_load == (openblas ? 3 : 1));
    vss::set_threads(2);
    CHECK(vss::blas_threads() == (openblas ? 2 : 1));
    vss::set_threads(0);
    CHECK(vss::blas_threads() == (openblas ? vss::threads() : 1));
}

TEST_CASE("built-in products equal the definition") {
    for (const Product& product : products) {
        check(product, [](const Product& p, const auto& a, int lda, const auto& b, int ldb, auto& c, int ldc) {
            vss::multiply<float>(p.transpose_a, p.transpose_b, p.m, p.n, p.k, p.alpha, a.data(), lda, b.data(), ldb,
                                 p.beta, c.data(), ldc);
        });
    }
}

TEST_CASE("built-in products do not read C where beta is 0") {
    const std::vector<double> a = {2.0};
    const std::vector<double> b = {3.0};
    std::vector<double> c = {std::numeric_limits<double>::quiet_NaN()};
    vss::multiply<double>(false, false, 1, 1, 1, 1.0, a.data(), 1, b.data(), 1, 0.0, c.data(), 1);
    CHECK(c[0] == 6.0);
}

TEST_CASE("sgemm_ equals the definition, whatever serves it") {
    MESSAGE("BLAS: " << vss::blas_description());
    for (const int threads : {1, 2}) {
        vss::set_threads(threads);
        for (const Product& product : products) {
            check(product, [](const Product& p, const auto& a, int lda, const auto& b, int ldb, auto& c, int ldc) {
                sgemm_(p.transpose_a ? "T" : "N", p.transpose_b ? "T" : "N", &p.m, &p.n, &p.k, &p.alpha, a.data(), &lda,
                       b.data(), &ldb, &p.beta, c.data(), &ldc);
            });
        }
    }
}

TEST_CASE("ssyrk_ writes one triangle") {
    const int order = 37;
    const int depth = 50;
    const float alpha = 1.5F;
    const float beta = 0.5F;
    const auto a = random_values(static_cast<std::size_t>(order) * depth, 4);
    for (const bool upper : {true, false}) {
        for (const bool transposed : {true, false}) {
            CAPTURE(upper);
            CAPTURE(transposed);
            const int lda = transposed ? depth : order;
            auto c = random_values(static_cast<std::size_t>(order) * order, 5);
            const auto before = c;
            const auto expected =
                by_definition({transposed, !transposed, order, order, depth, alpha, beta}, a, lda, a, lda, c, order);
            ssyrk_(upper ? "U" : "L", transposed ? "T" : "N", &order, &depth, &alpha, a.data(), &lda, &beta, c.data(),
                   &order);
            for (int column = 0; column < order; ++column) {
                for (int row = 0; row < order; ++row) {
                    const auto at = static_cast<std::size_t>(column) * order + row;
                    const bool written = upper ? row <= column : row >= column;
                    REQUIRE(c[at] == doctest::Approx(written ? expected[at] : before[at]).epsilon(1e-4));
                }
            }
        }
    }
}

TEST_CASE("LAPACK comes from OpenBLAS, or says what is missing") {
    // The QR factorisation of one column: R is minus or plus its norm.
    const int rows = 2;
    const int columns = 1;
    const int work_size = 64;
    std::vector<float> a = {3.0F, 4.0F};
    std::vector<float> work(work_size);
    float tau = 0;
    int info = -1;
    const bool builtin = vss::blas_description().starts_with("built in");
    try {
        sgeqrf_(&rows, &columns, a.data(), &rows, &tau, work.data(), &work_size, &info);
        CHECK_FALSE(builtin);
        CHECK(info == 0);
        CHECK(std::abs(a[0]) == doctest::Approx(5.0));
    } catch (const vss::BlasUnavailable& error) {
        CHECK(builtin);
        CHECK(std::string(error.what()).find("libscipy_openblas.so") != std::string::npos);
    }
}
