// The Faiss index of a column as a cache beside its rows: kept in t_faiss<c>, one for all connections of the process.
//
// On disk (FORMAT.md has it byte by byte): part 0 is a small header, which every search reads; parts 1, 2, ... are one
// stream of bytes, cut into blobs. The stream names for each row the slot that it was read from and the checksum of
// that slot, of each segment the version that was read, and then what Faiss wrote.
//
// Threads: FaissTables like the connection; a FaissImage never changes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "index/faiss/faiss_engine.h"
#include "storage/statement.h"
#include "storage/storage.h"

namespace vss {

// How a search must be set to reach a recall, measured on the column's own rows.
struct FaissSetting {
    std::uint32_t width = 0;   // probes or reach; 0: no setting reaches it
    std::uint32_t factor = 0;  // candidates for each neighbour wanted
};

struct FaissLearned {
    static constexpr std::array<double, 7> levels = {0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995};
    static constexpr std::array<std::uint32_t, 2> ks = {10, 100};
    std::uint32_t samples = 0;  // queries asked
    std::array<std::array<FaissSetting, levels.size()>, ks.size()> settings = {};
};

struct FaissHeader {
    std::uint64_t generation = 0;  // random, of this image; 0: there is no header
    std::uint64_t rows = 0;        // in the image
    std::uint64_t bytes = 0;       // of the stream; 0: there is no image
    std::uint64_t segments = 0;    // that it was read from
    std::uint64_t tried_at = 0;    // rows of the column when it was made, or could not be made
    std::uint64_t trained_from = 0;
    std::uint32_t stream_crc = 0;
    std::uint32_t factory_crc = 0;
    FaissLearned learned;

    [[nodiscard]] bool has_image() const { return bytes > 0; }
};

// An image in memory.
struct FaissImage {
    std::uint64_t generation = 0;
    std::vector<std::uint32_t> slots;  // by number of the row, ascending
    std::vector<std::uint32_t> crcs;
    std::unordered_map<std::uint64_t, std::uint64_t> versions;  // by segment
    std::unique_ptr<FaissEngine> engine;

    // Of a row that is read from `slot`, its number; slots.size(): none.
    [[nodiscard]] std::size_t find(std::uint32_t slot) const;
    [[nodiscard]] std::size_t bytes() const;
    std::size_t engine_bytes = 0;
};

class FaissTables {
  public:
    // All must outlive this object.
    FaissTables(const TableName& name, VectorStore& store, std::size_t index);

    static Status create_tables(const TableName& name, std::size_t index, bool where_missing);

    // generation 0 where there is none.
    Status read_header(FaissHeader& out);
    // The image that the header names, from the process's if it is there.
    Status read_image(const FaissHeader& header, std::shared_ptr<const FaissImage>& out);
    // The same, from the tables whatever the process has.
    Status read_image_anew(const FaissHeader& header, std::shared_ptr<const FaissImage>& out);
    Status write_header(const FaissHeader& header);
    // Replaces all there is; completes the header.
    Status write_image(const FaissImage& image, FaissHeader& header);
    Status clear();
    // Makes an image known to the process's other connections.
    void share(const std::shared_ptr<const FaissImage>& image) const;
    [[nodiscard]] std::uint32_t factory_crc() const;

  private:
    [[nodiscard]] Status damaged(std::string_view what) const;
    [[nodiscard]] std::uint32_t tagged_crc(std::uint64_t part, std::uint64_t generation,
                                           std::span<const std::byte> bytes) const;
    Status put(std::int64_t part, std::span<const std::byte> bytes);
    Status prepare(Statement& statement, std::string_view before, std::string_view after);

    const TableName& name_;
    VectorStore& store_;
    std::size_t index_;
    Statement select_header_;
    Statement upsert_;
};

}  // namespace vss
