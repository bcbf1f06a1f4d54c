#include "index/cells/codes.h"

#include <algorithm>

#include "base/aligned_bytes.h"

namespace vss {

void encode_row(Estimate estimate, const float* x, const float* c, std::size_t padded, RowCode& out) {
    out.bits.resize(padded / 8);
    SignSums sums;
    code_kernels().encode_signs(x, c, padded, out.bits.data(), sums);
    const float product = sums.absolute / 2;  // <r, x>
    const float t = product > 0 ? sums.square / product : 0;
    const float center = sums.center / 2;  // <c, x>
    if (estimate == Estimate::l2) {
        out.add = sums.square + 2 * t * center;
        out.rescale = -2 * t;
        return;
    }
    float residual_center = 0;
    if (c != nullptr) {
        const CodeKernels& kernels = code_kernels();
        residual_center = kernels.dot(x, c, padded) - kernels.dot(c, c, padded);
    }
    out.add = t * center - residual_center;
    out.rescale = -t;
}

std::shared_ptr<CodeBlocks> CodeBlocks::clone() const {
    auto copy = std::make_shared<CodeBlocks>(padded_);
    copy->reserve(size_ + block_rows);
    copy->resize(size_);
    if (size_ > 0) {
        std::memcpy(copy->data_.data(), data_.data(), blocks() * block_bytes_);
    }
    return copy;
}

std::uint32_t CodeBlocks::entry(std::size_t i) const {
    std::uint32_t value = 0;
    std::memcpy(&value, block(i / block_rows) + i % block_rows * 4, 4);
    return value;
}

void CodeBlocks::reserve(std::size_t rows) {
    const std::size_t wanted = (rows + block_rows - 1) / block_rows * block_bytes_;
    if (wanted <= data_.size()) {
        return;
    }
    AlignedBytes larger(wanted);
    const std::size_t used = blocks() * block_bytes_;
    if (used > 0) {
        std::memcpy(larger.data(), data_.data(), used);
    }
    std::memset(larger.data() + used, 0, wanted - used);
    data_ = std::move(larger);
}

void CodeBlocks::resize(std::size_t rows) {
    reserve(rows);
    size_ = rows;
}

void CodeBlocks::set(std::size_t i, std::uint32_t entry, const RowCode& code) {
    std::byte* at = block(i / block_rows);
    const std::size_t lane = i % block_rows;
    std::memcpy(at + lane * 4, &entry, 4);
    std::memcpy(at + (block_rows + lane) * 4, &code.add, 4);
    std::memcpy(at + (2 * block_rows + lane) * 4, &code.rescale, 4);
    auto* codes = reinterpret_cast<std::uint8_t*>(at + 12 * block_rows) + lane;
    for (std::size_t v = 0; v < padded_ / 8; ++v) {
        codes[v * block_rows] = code.bits[v];
    }
}

void CodeBlocks::push(std::uint32_t entry, const RowCode& code) {
    if (size_ % block_rows == 0 && (size_ / block_rows + 1) * block_bytes_ > data_.size()) {
        reserve(std::max(size_ + block_rows, size_ + size_ / 2));
    }
    ++size_;
    set(size_ - 1, entry, code);
}

void CodeBlocks::remove(std::size_t i) {
    const std::size_t last = size_ - 1;
    const std::byte* from = block(last / block_rows);
    std::byte* to = block(i / block_rows);
    for (std::size_t field = 0; field < 3; ++field) {
        std::memcpy(to + (field * block_rows + i % block_rows) * 4, from + (field * block_rows + last % block_rows) * 4,
                    4);
    }
    for (std::size_t v = 0; v < padded_ / 8; ++v) {
        to[(12 + v) * block_rows + i % block_rows] = from[(12 + v) * block_rows + last % block_rows];
    }
    size_ = last;
}

std::size_t CodeBlocks::find(std::uint32_t entry) const {
    for (std::size_t b = 0; b < blocks(); ++b) {
        const std::size_t n = std::min(block_rows, size_ - b * block_rows);
        std::array<std::uint32_t, block_rows> entries;
        std::memcpy(entries.data(), block(b), sizeof entries);
        const auto end = entries.begin() + static_cast<std::ptrdiff_t>(n);
        const auto at = std::find(entries.begin(), end, entry);
        if (at != end) {
            return b * block_rows + static_cast<std::size_t>(at - entries.begin());
        }
    }
    return size_;
}

void CodeQuery::prepare(std::size_t padded) {
    const CodeKernels& kernels = code_kernels();
    square = kernels.dot(vector.data(), vector.data(), padded);
    const float most = kernels.largest(vector.data(), padded);
    small_step = most / 63;
    small.resize(padded);
    kernels.quantize(vector.data(), most > 0 ? 63 / most : 0, 0, -63, 63, padded,
                     reinterpret_cast<std::uint8_t*>(small.data()));
    small_sum = 0;
    float sum = 0;
    for (std::size_t i = 0; i < padded; ++i) {
        small_sum += small[i];
        sum += vector[i];
    }
    if (entries.size() != padded * 4) {
        entries = AlignedBytes(padded * 4);
    }
    auto* out = reinterpret_cast<std::uint8_t*>(entries.data());
    kernels.make_tables(vector.data(), padded, out, tables.step, tables.base);
    tables.entries = out;
    tables.base -= sum / 2;
}

}  // namespace vss
