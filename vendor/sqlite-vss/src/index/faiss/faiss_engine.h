// One index of Faiss's: made from a factory string, trained, filled, written to bytes, read back and searched. Rows are
// numbered 0, 1, ... in the order in which they are added. No exception of Faiss's leaves here, and no SQL enters.
//
// Faiss, and with it all that includes it, is compiled once for each instruction level that it has code for, each level
// a FaissLevel of its own; make() and read() take that of this process (kernels/cpu.h).
//
// Threads: search() may be called on several at once, while nothing else is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace vss {

// What of a search trades speed for recall, beside the number of candidates.
enum class FaissKnob { none, probes, reach };

// How wide a search is to look.
struct FaissWidth {
    std::size_t own = 0;        // probes or reach
    std::size_t centroids = 0;  // reach of the search for the nearest lists, where that is a graph; 0: Faiss's own
};

class FaissEngine {
  public:
    // Is asked now and then; what fails ends the work with that status.
    using Check = std::function<Status()>;

    // What Faiss makes of the text, if it is of types that can be kept.
    static Status make(const std::string& factory, std::size_t dim, Metric metric, std::unique_ptr<FaissEngine>& out);
    // Bytes of write(), which may come from anywhere.
    static Status read(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                       std::unique_ptr<FaissEngine>& out);
    // The instruction level that the two take.
    [[nodiscard]] static std::string_view level();

    FaissEngine() = default;
    virtual ~FaissEngine();
    FaissEngine(const FaissEngine&) = delete;
    FaissEngine& operator=(const FaissEngine&) = delete;

    virtual Status write(std::vector<std::byte>& out) const = 0;
    // The same as a Faiss index whose ids are `rowids`.
    virtual Status write_with_ids(std::span<const std::int64_t> rowids, std::vector<std::byte>& out) const = 0;

    [[nodiscard]] virtual bool is_trained() const = 0;
    [[nodiscard]] virtual std::size_t size() const = 0;
    // Rows from which training makes sense, and of which no more are needed.
    [[nodiscard]] virtual std::size_t least_to_train() const = 0;
    [[nodiscard]] virtual std::size_t most_to_train() const = 0;
    // `rows`: dim floats each, of length 1 under cosine.
    virtual Status train(std::span<const float> rows, const Check& check) = 0;
    virtual Status add(std::span<const float> rows, const Check& check) = 0;
    // Forgets the rows, not what was trained.
    virtual Status clear() = 0;

    [[nodiscard]] virtual FaissKnob knob() const = 0;
    // Of probes: all lists.
    [[nodiscard]] virtual std::size_t widest() const = 0;
    // Whether its lists are found through a graph.
    [[nodiscard]] virtual bool has_centroid_graph() const = 0;
    // Whether search() hands out allowed rows alone; else it hands out others too, and no more than `k` of all.
    [[nodiscard]] virtual bool selects() const = 0;
    // Up to k rows, nearest first as far as Faiss can tell. `allowed`: bits by row, or nullptr.
    virtual Status search(const float* query, std::size_t k, FaissWidth width,
                          const std::vector<std::uint64_t>* allowed, std::vector<std::uint32_t>& out) const = 0;
};

// What faiss_engine.cpp is, at one instruction level.
struct FaissLevel {
    Status (*make)(const std::string& factory, std::size_t dim, Metric metric, std::unique_ptr<FaissEngine>& out);
    Status (*read)(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                   std::unique_ptr<FaissEngine>& out);
};

}  // namespace vss

// The only names that an instruction level shows to the rest of the library.
extern "C" {
extern const vss::FaissLevel vss_faiss_baseline;
extern const vss::FaissLevel vss_faiss_avx2;
}
