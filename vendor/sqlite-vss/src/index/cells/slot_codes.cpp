#include "index/cells/slot_codes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace vss {
namespace {

// The step of a uniform 4-bit quantiser that loses least on a normal distribution of deviation 1.
constexpr float best_step = 0.335F;
constexpr float middle = 7.5F;
constexpr float infinity = std::numeric_limits<float>::infinity();
// Covers the float32 rounding of rotation and sums, relative to the norms.
constexpr float rounding = 1e-5F;
// Pieces of memory smaller than a page are no part of a large one (huge_pages.cpp).
constexpr std::size_t least_piece = 4096;

// The upper half of a float32 that is not less than `value`, which is not negative.
std::uint16_t rounded_up(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0xFFFFU) >> 16U);
}

}  // namespace

void SlotCodes::encode(const float* x, bool whole, std::size_t padded, std::byte* out) {
    static thread_local std::vector<std::uint8_t> levels;
    static thread_local std::vector<float> centered;
    levels.resize(padded);
    centered.resize(padded);
    const CodeKernels& kernels = code_kernels();
    const float square = kernels.dot(x, x, padded);
    const float step = best_step * std::sqrt(square / static_cast<float>(padded));
    kernels.quantize(x, step > 0 ? 1 / step : 0, middle, 0, 15, padded, levels.data());
    auto* nibbles = reinterpret_cast<std::uint8_t*>(out);
    for (std::size_t j = 0; j < padded; j += 64) {
        for (std::size_t b = 0; b < 32; ++b) {
            nibbles[j / 2 + b] = static_cast<std::uint8_t>(levels[j + b] | levels[j + 32 + b] << 4);
        }
    }
    for (std::size_t j = 0; j < padded; ++j) {
        centered[j] = static_cast<float>(levels[j]) - middle;
    }
    const float scale = kernels.dot(x, centered.data(), padded) / kernels.dot(centered.data(), centered.data(), padded);
    for (std::size_t j = 0; j < padded; ++j) {
        centered[j] = x[j] - scale * centered[j];
    }
    const float residual =
        std::sqrt(kernels.dot(centered.data(), centered.data(), padded)) + rounding * std::sqrt(square);
    const std::uint16_t stored = rounded_up(whole && residual < infinity ? residual : infinity);
    std::memcpy(out + padded / 2, &scale, 4);
    std::memcpy(out + padded / 2 + 4, &square, 4);
    std::memcpy(out + padded / 2 + 8, &stored, 2);
}

bool SlotCodes::is_code_of(const float* x, bool whole, std::size_t padded, const std::byte* code) {
    std::vector<std::byte> expected(code_bytes(padded));
    encode(x, whole, padded, expected.data());
    for (std::size_t i = 0; i < padded / 2; ++i) {
        const auto a = std::to_integer<int>(code[i]);
        const auto b = std::to_integer<int>(expected[i]);
        if (std::abs((a & 15) - (b & 15)) > 1 || std::abs((a >> 4) - (b >> 4)) > 1) {
            return false;
        }
    }
    const Query::Factors is = Query::factors(code, padded);
    const Query::Factors should = Query::factors(expected.data(), padded);
    const auto near = [](float a, float b) { return a == b || std::abs(a - b) <= 1e-3F * std::abs(b); };
    // A level that differs moves the residual by little of the vector's length.
    return near(is.scale, should.scale) && near(is.square, should.square) &&
           (is.residual == should.residual ||
            std::abs(is.residual - should.residual) <= 1e-2F * std::sqrt(std::abs(should.square)));
}

std::size_t SlotCodes::data_bytes(std::size_t padded) {
    return (chunk_bytes(padded) + least_piece - 1) / least_piece * least_piece;
}

SlotCodes::SlotCodes(std::size_t padded) : padded_(padded), data_(data_bytes(padded)) {
    std::memset(data_.data(), 0, chunk_bytes(padded));
}

std::uint32_t SlotCodes::live(std::span<const std::byte> chunk) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, chunk.data() + 4, 4);
    return bits;
}

void SlotCodes::set(std::size_t i, const std::byte* code) {
    const std::uint32_t bits = live() | std::uint32_t{1} << i;
    std::memcpy(data_.data() + 4, &bits, 4);
    std::memcpy(data_.data() + header_bytes + i * code_bytes(padded_), code, code_bytes(padded_));
}

void SlotCodes::remove(std::size_t i) {
    const std::uint32_t bits = live() & ~(std::uint32_t{1} << i);
    std::memcpy(data_.data() + 4, &bits, 4);
    std::memset(data_.data() + header_bytes + i * code_bytes(padded_), 0, code_bytes(padded_));
}

void SlotCodes::Query::prepare(const float* q, std::size_t padded, Estimate kind) {
    const CodeKernels& kernels = code_kernels();
    padded_ = padded;
    kind_ = kind;
    const float most = kernels.largest(q, padded);
    step_ = most / 127;
    small_.resize(padded);
    kernels.quantize(q, most > 0 ? 127 / most : 0, 0, -127, 127, padded,
                     reinterpret_cast<std::uint8_t*>(small_.data()));
    std::int32_t total = 0;
    double rest = 0;
    for (std::size_t i = 0; i < padded; ++i) {
        total += small_[i];
        const double lost_here = static_cast<double>(q[i]) - static_cast<double>(step_) * small_[i];
        rest += lost_here * lost_here;
    }
    sum_ = static_cast<float>(total);
    norm_ = std::sqrt(kernels.dot(q, q, padded));
    lost_ = static_cast<float>(std::sqrt(rest)) + rounding * norm_;
    width_ = 0;
}

void SlotCodes::Query::set_lost() {
    lost_ = infinity;
}

SlotCodes::Query::Factors SlotCodes::Query::factors(const std::byte* code, std::size_t padded) {
    Factors out{};
    std::uint16_t residual = 0;
    std::memcpy(&out.scale, code + padded / 2, 4);
    std::memcpy(&out.square, code + padded / 2 + 4, 4);
    std::memcpy(&residual, code + padded / 2 + 8, 2);
    out.residual = std::bit_cast<float>(std::uint32_t{residual} << 16U);
    return out;
}

std::int32_t SlotCodes::Query::product(const std::byte* code) const {
    return code_kernels().dot_u4(reinterpret_cast<const std::uint8_t*>(code), small_.data(), padded_);
}

float SlotCodes::Query::inner(std::int32_t product, const Factors& factors) const {
    return factors.scale * step_ * (static_cast<float>(product) - middle * sum_);
}

// s <x, q> falls short of <o, q>, as e leans towards o: |o|^2 = |s x|^2 + |e|^2. By this factor, on the average over
// rotations.
float SlotCodes::Query::unbiased(const Factors& factors) {
    const float coded = factors.square - factors.residual * factors.residual;
    return coded > factors.square / 2 ? factors.square / coded : 1;
}

float SlotCodes::Query::distance(const std::byte* code) const {
    const Factors of = factors(code, padded_);
    const float inner_product = inner(product(code), of) * unbiased(of);
    return kind_ == Estimate::product ? -inner_product : of.square + norm_ * norm_ - 2 * inner_product;
}

float SlotCodes::Query::deviation(const std::byte* code) const {
    const Factors of = factors(code, padded_);
    const float error = (of.residual * norm_ + std::sqrt(of.square) * lost_) / std::sqrt(static_cast<float>(padded_));
    return kind_ == Estimate::product ? error : 2 * error;
}

void SlotCodes::Query::estimates(const std::byte* codes, std::span<Estimated> out) const {
    std::array<std::int32_t, most_together> products;
    const std::size_t stride = code_bytes(padded_);
    code_kernels().dots_u4(reinterpret_cast<const std::uint8_t*>(codes), stride, out.size(), small_.data(), padded_,
                           products.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
        const Factors of = factors(codes + i * stride, padded_);
        float inner_product = inner(products[i], of);
        float error = of.residual * norm_ + std::sqrt(of.square) * lost_;
        error = error == error ? error : infinity;  // nothing is known where either is infinite
        if (width_ > 0) {
            inner_product *= unbiased(of);
            error *= std::min(width_ / std::sqrt(static_cast<float>(padded_)), 1.0F);
        }
        if (kind_ == Estimate::product) {
            out[i] = {-inner_product, error};
        } else {
            const float squares = of.square + norm_ * norm_;
            out[i] = {squares - 2 * inner_product, 2 * error + rounding * squares};
        }
    }
}

}  // namespace vss
