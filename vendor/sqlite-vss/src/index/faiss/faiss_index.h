// A column's Faiss index behind the seam: rows that its image knows unchanged are found through Faiss, all others by
// measuring them, and every answer is measured on the rows.
//
// Nothing is written when a row changes: the versions of segments say which of them the image does not know as they
// are, and of those the checksums of slots say which rows. The image is built, and rebuilt, when enough rows came.
//
// Threads: like the connection; a batch of queries is shared out over threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "index/column_index.h"
#include "index/faiss/faiss_image.h"
#include "index/nearest.h"
#include "storage/progress.h"

namespace vss {

class FaissIndex final : public ColumnIndex {
  public:
    explicit FaissIndex(const IndexContext& context);

    Status inserted(std::uint64_t slot) override;
    Status removing(std::uint64_t slot) override;
    [[nodiscard]] bool is_dirty() const override { return changes_ > 0; }
    Status flush() override;
    void discard() override { changes_ = 0; }

    Status search(const SearchRequest& request, SearchAnswer& answer) override;
    Status check_settings(const SearchSettings& settings) override;
    void explain(Json& json) override;
    Status is_exact(bool& out) override;
    Status count(std::uint64_t& out) override { return store_.count(out); }

    Status check(const Report& report) override;
    Status restart(const Report& report) override;

    Status train() override;
    Status rebuild() override;
    Status relearn() override;
    Status optimize(OptimizeStep& step) override;
    Status parts(std::uint64_t& out) override;
    Status stats(Json& json) override;
    Status export_bytes(std::string& out) override;

  private:
    // What differs between a segment as it is and as the image knows it.
    struct Difference {
        std::uint64_t version = 0;
        bool is_scanned = false;           // so much that the whole of it is measured
        std::vector<std::uint32_t> fresh;  // places of rows that the image does not know
        std::vector<std::uint32_t> gone;   // numbers of rows of the image
    };
    // What a search asks Faiss for.
    struct Wanted {
        FaissWidth width;
        std::size_t factor = 0;
    };

    // --- what the tables say, and how the rows differ from it (faiss_index.cpp) ---
    Status refresh();
    Status compare(const std::vector<SegmentInfo>& infos);
    Status difference(const SegmentInfo& info, Difference& out);
    [[nodiscard]] std::pair<std::size_t, std::size_t> numbers_in(std::uint64_t segment) const;
    [[nodiscard]] bool is_live(std::uint32_t number) const { return (live_[number / 64] >> (number % 64) & 1) != 0; }
    Status search_image(const SearchRequest& request, const Wanted& wanted, SearchAnswer& answer, bool& enough);
    Status candidates(const SearchRequest& request, const Wanted& wanted, const std::vector<std::uint64_t>& allowed,
                      std::size_t allowed_count, std::vector<std::vector<std::uint32_t>>& out);
    Status measure_candidates(const SearchRequest& request, std::vector<std::vector<std::uint32_t>>& found,
                              std::vector<Nearest>& nearest);
    Status measure_others(const SearchRequest& request, std::vector<Nearest>& nearest);
    [[nodiscard]] bool wanted_for(const SearchRequest& request, Wanted& out) const;
    [[nodiscard]] bool set_by(const SearchRequest& request, std::size_t at, Wanted& out) const;
    [[nodiscard]] bool to_floats(const std::byte* vector, float* out) const;

    // --- making it (faiss_build.cpp) ---
    Status build(bool anew);
    Status read_rows(std::size_t most, std::vector<float>& out);
    Status train_on_sample(FaissEngine& engine, Progress& progress);
    Status fill(FaissImage& image, Progress& progress);
    Status learn(FaissLearned& out, Progress& progress);
    [[nodiscard]] Status in_words(const Status& status) const;
    [[nodiscard]] FaissEngine::Check checking() const;

    const TableName& name_;
    VectorStore& store_;
    std::string words_;
    FaissTables tables_;
    std::unique_ptr<FaissEngine> blank_;  // knows which settings there are, while there is no image
    std::uint64_t changes_ = 0;           // of this connection's that flush() has not looked at
    std::uint64_t changes_before_ = 0;    // that it has, since the image was made

    // As the snapshot of the running statement has it.
    FaissHeader header_;
    std::shared_ptr<const FaissImage> image_;
    std::uint64_t damaged_ = 0;  // the generation of an image that could not be read
    std::string damage_;
    std::vector<SegmentInfo> segments_;
    std::map<std::uint64_t, Difference> differences_;  // by segment; of those that differ
    std::uint64_t compared_generation_ = 0;
    std::vector<std::uint64_t> live_;  // bits: rows of the image that are as it knows them, and are not scanned
    std::size_t live_count_ = 0;
    std::uint64_t rows_ = 0;

    // The last search, for explain.
    struct Costs {
        bool exact = true;
        std::size_t width = 0;
        std::size_t candidates = 0;
        std::size_t measured = 0;
    } costs_;
};

}  // namespace vss
