#include "storage/faiss_codings.h"

#include "base/half.h"

namespace vss {

std::size_t ScalarCodes::bytes_of(Type type, std::size_t dim) {
    switch (type) {
        case bits4:
        case bits4_uniform: return (dim + 1) / 2;
        case bits6: return (dim * 6 + 7) / 8;
        case fp16: return dim * 2;
        default: return dim;
    }
}

std::size_t ScalarCodes::trained_floats(Type type, std::size_t dim) {
    switch (type) {
        case bits8_uniform:
        case bits4_uniform: return 2;
        case fp16:
        case bits8_direct: return 0;
        default: return 2 * dim;
    }
}

void ScalarCodes::decode(Bytes code, float* out) const {
    for (std::size_t i = 0; i < dim_; ++i) {
        if (type_ == fp16) {
            std::uint16_t bits = 0;
            std::memcpy(&bits, code.data() + i * 2, sizeof bits);
            out[i] = float16_to_float(bits);
        } else if (type_ == bits8_direct) {
            out[i] = static_cast<float>(std::to_integer<unsigned>(code[i]));
        } else {
            const bool uniform = type_ == bits8_uniform || type_ == bits4_uniform;
            const float least = float_at(trained_, uniform ? 0 : i);
            const float span = float_at(trained_, uniform ? 1 : dim_ + i);
            out[i] = least + level(code, i) * span;
        }
    }
}

float ScalarCodes::level(Bytes code, std::size_t i) const {
    if (type_ == bits4 || type_ == bits4_uniform) {
        const auto nibble = (std::to_integer<unsigned>(code[i / 2]) >> ((i % 2) * 4)) & 0xFU;
        return (static_cast<float>(nibble) + 0.5F) / 15.0F;
    }
    if (type_ == bits6) {
        const std::size_t bit = i * 6;
        unsigned word = std::to_integer<unsigned>(code[bit / 8]);
        if (bit % 8 > 2) {
            word |= std::to_integer<unsigned>(code[bit / 8 + 1]) << 8;
        }
        return (static_cast<float>((word >> (bit % 8)) & 0x3FU) + 0.5F) / 63.0F;
    }
    return (static_cast<float>(std::to_integer<unsigned>(code[i])) + 0.5F) / 255.0F;
}

void ProductCodes::decode_part(std::size_t m, std::size_t number, float* out) const {
    std::memcpy(out + m * width_, centroids_.data() + ((m << bits_) + number) * width_ * sizeof(float),
                width_ * sizeof(float));
}

void ProductCodes::decode(Bytes code, float* out) const {
    for (std::size_t m = 0; m < parts_; ++m) {
        std::size_t number = 0;
        for (std::size_t b = 0; b < bits_; ++b) {
            const std::size_t at = m * bits_ + b;
            number |= std::size_t{(std::to_integer<unsigned>(code[at / 8]) >> (at % 8)) & 1U} << b;
        }
        decode_part(m, number, out);
    }
}

void FastScanCodes::decode_at(Bytes codes, std::size_t i, float* out) const {
    const std::size_t in_block = i % block_;
    const std::size_t row = in_block % group;
    const std::size_t half = row % (group / 2);
    // Bytes of rows 0, 8, 1, 9, ...
    const std::size_t place = half < group / 4 ? 2 * half : 2 * half - group / 2 + 1;
    const Bytes block = codes.subspan(i / block_ * block_bytes(), block_bytes());
    for (std::size_t m = 0; m < codes_->parts(); ++m) {
        const std::size_t at = m / 2 * block_ + in_block / group * group + m % 2 * (group / 2) + place;
        const unsigned shift = row < group / 2 ? 0 : 4;
        codes_->decode_part(m, (std::to_integer<unsigned>(block[at]) >> shift) & 0xFU, out);
    }
}

}  // namespace vss
