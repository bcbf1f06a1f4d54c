// 4-bit codes of rows by slot: what refines the candidates that sign codes bring, and what an exact search prunes by.
// They lie in chunks of consecutive slots, in memory as on disk. No SQLite in here.
//
// A rotated row o is kept as nibbles u, x = u - 7.5, with s = <o, x> / |x|^2. The rest e = o - s x is orthogonal to x,
// so |<o, q> - s <x, q>| <= |e| |q|: a bound that cannot fail, unlike the estimators'.
//
// A chunk (FORMAT.md): crc32c u32, kept by storage; which slots have a code, as bits, u32; then each slot's code:
// nibbles of padded / 2 bytes, s f32, |o|^2 f32, |e| rounded up to the upper half of a float32. Without alignment, so
// that as many as can be fit a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_bytes.h"
#include "base/cache.h"
#include "index/cells/codes.h"
#include "storage/segment.h"

namespace vss {

class SlotCodes final : public CacheEntry {
  public:
    static constexpr std::size_t header_bytes = 8;
    static constexpr std::size_t factor_bytes = 10;
    [[nodiscard]] static constexpr std::size_t code_bytes(std::size_t padded) { return padded / 2 + factor_bytes; }
    // As many as fit a leaf page of 4,096 bytes beside its overhead and ours.
    [[nodiscard]] static constexpr std::size_t chunk_slots(std::size_t padded) {
        const std::size_t fit = (4056 - header_bytes) / code_bytes(padded);
        return fit == 0 ? 1 : fit;
    }
    [[nodiscard]] static constexpr std::size_t chunk_bytes(std::size_t padded) {
        return header_bytes + chunk_slots(padded) * code_bytes(padded);
    }
    // Chunks do not reach across segments: a segment's version stands for the codes of its slots too.
    [[nodiscard]] static constexpr std::size_t chunks_of(std::size_t segment_slots, std::size_t padded) {
        return (segment_slots + chunk_slots(padded) - 1) / chunk_slots(padded);
    }

    // Of a row x in the cells' space; `whole`: as CellSpace::enter() says. Fills code_bytes(padded) at `out`.
    static void encode(const float* x, bool whole, std::size_t padded, std::byte* out);
    // Whether a code as stored is that of x, whatever instruction set made it.
    [[nodiscard]] static bool is_code_of(const float* x, bool whole, std::size_t padded, const std::byte* code);

    // No slot has a code.
    explicit SlotCodes(std::size_t padded);
    [[nodiscard]] bool fits(std::size_t padded) const { return padded_ == padded; }
    [[nodiscard]] bool has(std::size_t i) const { return (live() >> i & 1) != 0; }
    [[nodiscard]] std::uint32_t live() const { return live(bytes_on_disk()); }
    [[nodiscard]] const std::byte* code(std::size_t i) const { return code(bytes_on_disk(), i, padded_); }
    // The same of a chunk as it lies on disk.
    [[nodiscard]] static bool has(std::span<const std::byte> chunk, std::size_t i) {
        return (live(chunk) >> i & 1) != 0;
    }
    [[nodiscard]] static std::uint32_t live(std::span<const std::byte> chunk);
    [[nodiscard]] static const std::byte* code(std::span<const std::byte> chunk, std::size_t i, std::size_t padded) {
        return chunk.data() + header_bytes + i * code_bytes(padded);
    }
    void set(std::size_t i, const std::byte* code);
    void remove(std::size_t i);
    // The chunk as it lies on disk, chunk_bytes() long.
    [[nodiscard]] std::span<std::byte> bytes_on_disk() { return {data_.data(), chunk_bytes(padded_)}; }
    [[nodiscard]] std::span<const std::byte> bytes_on_disk() const { return {data_.data(), chunk_bytes(padded_)}; }

    struct Estimated {
        float distance = 0;  // in the cells' space: |o - q|^2, or -<o, q>
        float error = 0;     // at most so far from the truth
    };
    // Estimates by a row's code.
    class Query {
      public:
        void prepare(const float* q, std::size_t padded, Estimate kind);
        // Nothing is known of the query but its direction: no estimate is good.
        void set_lost();
        // Where not 0, estimates() are without bias, and their errors greater as seldom as a normal number is beyond
        // so many deviations; else they have bounds that cannot fail.
        void set_width(float width) { width_ = width; }
        // Without bias.
        [[nodiscard]] float distance(const std::byte* code) const;
        // Of the distance's error, which is about normal, as the rest of a rotated vector points anywhere.
        [[nodiscard]] float deviation(const std::byte* code) const;
        // Of out.size() codes that lie one behind the other.
        static constexpr std::size_t most_together = 32;
        void estimates(const std::byte* codes, std::span<Estimated> out) const;

      private:
        struct Factors {
            float scale;
            float square;    // |o|^2
            float residual;  // |e|, rounded up
        };
        friend class SlotCodes;
        [[nodiscard]] static Factors factors(const std::byte* code, std::size_t padded);
        [[nodiscard]] std::int32_t product(const std::byte* code) const;
        [[nodiscard]] float inner(std::int32_t product, const Factors& factors) const;
        [[nodiscard]] static float unbiased(const Factors& factors);

        std::vector<std::int8_t> small_;  // round(q / step), in [-127, 127]
        std::size_t padded_ = 0;
        Estimate kind_ = Estimate::l2;
        float step_ = 0;
        float sum_ = 0;   // of `small_`
        float norm_ = 0;  // |q|
        float lost_ = 0;  // |q - step * small|
        float width_ = 0;
    };

    [[nodiscard]] std::size_t bytes() const override { return bytes_of(padded_); }
    [[nodiscard]] static std::size_t bytes_of(std::size_t padded) { return sizeof(SlotCodes) + data_bytes(padded); }

  private:
    [[nodiscard]] static std::size_t data_bytes(std::size_t padded);

    std::size_t padded_;
    AlignedBytes data_;
};

static_assert(SlotCodes::chunk_slots(256) <= 32, "a bit for each");

}  // namespace vss
