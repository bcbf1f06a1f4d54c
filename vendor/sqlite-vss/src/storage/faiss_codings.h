// How the codes in a Faiss index become vectors: floats, scalar and product quantizers, and these packed as fast scans
// keep them. Sizes are checked by whoever makes one (faiss_bytes.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace vss {

using Bytes = std::span<const std::byte>;

inline float float_at(Bytes bytes, std::size_t i) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    return value;
}

// How one code becomes a vector.
class Coding {
  public:
    Coding() = default;
    Coding(const Coding&) = delete;
    Coding& operator=(const Coding&) = delete;
    virtual ~Coding() = default;
    // Bytes of one code, by itself.
    [[nodiscard]] virtual std::size_t code_size() const = 0;
    [[nodiscard]] virtual bool is_lossy() const { return true; }
    // Bytes that `count` codes take, and the vector of the one at `i` in them.
    [[nodiscard]] virtual std::size_t bytes_of(std::size_t count) const { return count * code_size(); }
    virtual void decode_at(Bytes codes, std::size_t i, float* out) const {
        decode(codes.subspan(i * code_size(), code_size()), out);
    }
    virtual void decode(Bytes code, float* out) const = 0;
};

class PlainFloats final : public Coding {
  public:
    explicit PlainFloats(std::size_t dim) : dim_(dim) {}
    [[nodiscard]] std::size_t code_size() const override { return dim_ * sizeof(float); }
    [[nodiscard]] bool is_lossy() const override { return false; }
    void decode(Bytes code, float* out) const override { std::memcpy(out, code.data(), dim_ * sizeof(float)); }

  private:
    std::size_t dim_;
};

// faiss/impl/ScalarQuantizer.cpp
class ScalarCodes final : public Coding {
  public:
    enum Type { bits8, bits4, bits8_uniform, bits4_uniform, fp16, bits8_direct, bits6, type_count };

    static std::size_t bytes_of(Type type, std::size_t dim);
    static std::size_t trained_floats(Type type, std::size_t dim);

    ScalarCodes(Type type, std::size_t dim, Bytes trained) : type_(type), dim_(dim), trained_(trained) {}
    [[nodiscard]] std::size_t code_size() const override { return bytes_of(type_, dim_); }
    void decode(Bytes code, float* out) const override;

  private:
    // Within 0 and 1.
    [[nodiscard]] float level(Bytes code, std::size_t i) const;

    Type type_;
    std::size_t dim_;
    Bytes trained_;
};

// faiss/impl/ProductQuantizer.h: `parts` numbers of `bits` bits, the least significant first.
class ProductCodes final : public Coding {
  public:
    ProductCodes(std::size_t dim, std::size_t parts, std::size_t bits, Bytes centroids)
        : parts_(parts), bits_(bits), width_(dim / parts), centroids_(centroids) {}
    [[nodiscard]] std::size_t code_size() const override { return (parts_ * bits_ + 7) / 8; }
    [[nodiscard]] std::size_t parts() const { return parts_; }
    [[nodiscard]] std::size_t bits() const { return bits_; }
    void decode(Bytes code, float* out) const override;
    // The part `m` of a vector, of that number.
    void decode_part(std::size_t m, std::size_t number, float* out) const;

  private:
    std::size_t parts_;
    std::size_t bits_;
    std::size_t width_;
    Bytes centroids_;
};

// Product codes of 4 bits in blocks of rows, whose parts stand together (faiss/impl/pq4_fast_scan.cpp): of 32 rows at a
// time, 16 bytes for each part, a byte for two rows that are 16 apart.
class FastScanCodes final : public Coding {
  public:
    static constexpr std::size_t group = 32;
    // `block`: rows, a multiple of `group`.
    FastScanCodes(std::unique_ptr<ProductCodes> codes, std::size_t block) : codes_(std::move(codes)), block_(block) {}
    [[nodiscard]] std::size_t parts() const { return (codes_->parts() + 1) / 2 * 2; }  // an even number are kept
    [[nodiscard]] std::size_t block_bytes() const { return block_ * parts() / 2; }
    [[nodiscard]] std::size_t code_size() const override { return codes_->code_size(); }
    [[nodiscard]] std::size_t bytes_of(std::size_t count) const override {
        return (count + block_ - 1) / block_ * block_bytes();
    }
    void decode_at(Bytes codes, std::size_t i, float* out) const override;
    void decode(Bytes code, float* out) const override { codes_->decode(code, out); }

  private:
    std::unique_ptr<ProductCodes> codes_;
    std::size_t block_;
};

}  // namespace vss
