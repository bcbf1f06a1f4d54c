// Sign codes of rotated residuals with the factors of an unbiased estimator (RaBitQ, arXiv 2405.12497), in blocks of
// 32 rows laid out for scanning. No SQLite in here.
//
// A row o in a cell with centroid c has r = o - c (rotated), bits u = (r >= 0), x = u - 1/2. With t = |r|^2 / <r, x>,
// t (<x, q> - <x, c>) estimates <r, q - c> without bias over random rotations. So
//   squared distance  |o - q|^2 ~ add + |q - c|^2 + rescale <x, q>,  add = |r|^2 + 2 t <x, c>,   rescale = -2 t
//   inner product    -<o, q>    ~ add - <q, c>    + rescale <x, q>,  add = t <x, c> - <r, c>,    rescale = -t
// r = 0 gives rescale = 0 and is exact.
//
// A block, on disk and in memory: slots u32[32], add f32[32], rescale f32[32], then for each code byte v (dimensions
// 8 v to 8 v + 7) that byte of the 32 rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/aligned_bytes.h"
#include "base/cache.h"
#include "kernels/code_kernels.h"
#include "storage/segment.h"

namespace vss {

enum class Estimate : std::uint8_t { l2 = 0, product = 1 };

// Slots are below 2^31; the top bit of an entry's slot says that it is the row's second copy.
inline constexpr std::uint32_t second_copy = 0x80000000U;
inline constexpr std::uint64_t max_celled_slots = 0x7FFFFFFF;

[[nodiscard]] constexpr std::size_t code_block_bytes(std::size_t padded) {
    return block_rows * (12 + padded / 8);
}

struct RowCode {
    float add = 0;
    float rescale = 0;
    std::vector<std::uint8_t> bits;
};

// Encodes x (padded floats) against c (nullptr: the origin).
void encode_row(Estimate estimate, const float* x, const float* c, std::size_t padded, RowCode& out);

// The entries of one cell. Growable; an entry in use outlives its eviction from the cache.
class CodeBlocks final : public CacheEntry {
  public:
    explicit CodeBlocks(std::size_t padded) : padded_(padded), block_bytes_(code_block_bytes(padded)) {}
    // A copy that can be changed.
    [[nodiscard]] std::shared_ptr<CodeBlocks> clone() const;

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t blocks() const { return (size_ + block_rows - 1) / block_rows; }
    [[nodiscard]] std::size_t block_bytes() const { return block_bytes_; }
    [[nodiscard]] bool fits(std::size_t padded, std::size_t entries) const {
        return padded_ == padded && size_ == entries;
    }
    [[nodiscard]] const std::byte* block(std::size_t b) const { return data_.data() + b * block_bytes_; }
    [[nodiscard]] std::byte* block(std::size_t b) { return data_.data() + b * block_bytes_; }
    [[nodiscard]] std::uint32_t entry(std::size_t i) const;

    void reserve(std::size_t rows);
    [[nodiscard]] std::size_t capacity() const { return data_.size() / block_bytes_ * block_rows; }
    // Makes room for `rows` entries whose blocks the caller fills.
    void resize(std::size_t rows);
    void push(std::uint32_t entry, const RowCode& code);
    void set(std::size_t i, std::uint32_t entry, const RowCode& code);
    // The last entry takes the place of the i-th.
    void remove(std::size_t i);
    // size() if there is none.
    [[nodiscard]] std::size_t find(std::uint32_t entry) const;

    [[nodiscard]] std::size_t bytes() const override { return sizeof(*this) + data_.size(); }

  private:
    std::size_t padded_;
    std::size_t block_bytes_;
    std::size_t size_ = 0;
    AlignedBytes data_;
};

// A query in the rotated space, ready for every kernel. Reusable.
struct CodeQuery {
    std::vector<float> vector;       // padded floats
    std::vector<std::int8_t> small;  // round(vector / small_step), in [-63, 63]
    float small_step = 0;
    std::int32_t small_sum = 0;
    float square = 0;   // |q|^2
    ScanTables tables;  // base counts -1/2 sum(q) in: they give <x, q>
    AlignedBytes entries;

    // From `vector`.
    void prepare(std::size_t padded);
};

}  // namespace vss
