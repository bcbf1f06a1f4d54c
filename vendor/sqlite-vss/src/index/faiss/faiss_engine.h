// One index of Faiss's: made from a factory string, trained, filled, written to bytes, read back and searched. Rows are
// numbered 0, 1, ... in the order in which they are added. No exception of Faiss's leaves here, and no SQL enters.
//
// Threads: search() may be called on several at once, while nothing else is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace vss {

// What of a search trades speed for recall, beside the number of candidates.
enum class FaissKnob { none, probes, reach };

class FaissEngine {
  public:
    // Is asked now and then; what fails ends the work with that status.
    using Check = std::function<Status()>;

    // What Faiss makes of the text, if it is of types that can be kept.
    static Status make(const std::string& factory, std::size_t dim, Metric metric, std::unique_ptr<FaissEngine>& out);
    // Bytes of write(), which may come from anywhere.
    static Status read(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                       std::unique_ptr<FaissEngine>& out);
    ~FaissEngine();
    FaissEngine(const FaissEngine&) = delete;
    FaissEngine& operator=(const FaissEngine&) = delete;

    Status write(std::vector<std::byte>& out) const;
    // The same as a Faiss index whose ids are `rowids`.
    Status write_with_ids(std::span<const std::int64_t> rowids, std::vector<std::byte>& out) const;

    [[nodiscard]] bool is_trained() const;
    [[nodiscard]] std::size_t size() const;
    // Rows from which training makes sense, and of which no more are needed.
    [[nodiscard]] std::size_t least_to_train() const;
    [[nodiscard]] std::size_t most_to_train() const;
    // `rows`: dim floats each, of length 1 under cosine.
    Status train(std::span<const float> rows, const Check& check);
    Status add(std::span<const float> rows, const Check& check);
    // Forgets the rows, not what was trained.
    Status clear();

    [[nodiscard]] FaissKnob knob() const;
    // Of probes: all lists.
    [[nodiscard]] std::size_t widest() const;
    // Whether search() hands out allowed rows alone; else it hands out others too, and no more than `k` of all.
    [[nodiscard]] bool selects() const;
    // Up to k rows, nearest first as far as Faiss can tell. `allowed`: bits by row, or nullptr.
    Status search(const float* query, std::size_t k, std::size_t width, const std::vector<std::uint64_t>* allowed,
                  std::vector<std::uint32_t>& out) const;

    // For make() and read(): nobody else has parts.
    struct Parts;
    explicit FaissEngine(std::unique_ptr<Parts> parts);

  private:
    std::unique_ptr<Parts> parts_;
};

}  // namespace vss
