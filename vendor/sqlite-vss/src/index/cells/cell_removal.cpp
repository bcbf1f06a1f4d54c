// CellIndex: how rows leave cells.
#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/text.h"
#include "index/cells/cells.h"

namespace vss {
namespace {

// Cells of the ranking in which a row's entries are looked for, then more of it, before all cells are.
constexpr std::size_t likely_cells = 24;
constexpr std::size_t less_likely_cells = 512;
// Rows that go together are sought one by one as long as a pass over all cells costs more.
constexpr std::size_t cells_passed_per_row = 8;
constexpr std::size_t most_sought = 4096;
constexpr std::uint32_t cells_between_looks = 1024;

}  // namespace

Status CellIndex::remove(std::uint64_t slot) {
    VSS_TRY(load());
    if (state_.rows == 0) {
        return Status::corrupt("more rows are removed than were counted");
    }
    const auto entry = static_cast<std::uint32_t>(slot);
    if (!state_.is_celled() || tail_.erase(entry) > 0) {
        dirty_ = true;
        --state_.rows;
        return Status::ok();
    }
    VSS_TRY(load_directory());
    VSS_TRY(forget_slot_code(entry));
    const std::size_t padded = space_->padded();
    const std::size_t sought =
        std::min(std::max<std::size_t>(directory_->live() / cells_passed_per_row, 1), most_sought);
    if (leaving_.slots.size() >= sought) {
        leaving_.rows.clear();
    } else if (leaving_.has_rows(padded)) {
        std::vector<float> x;
        VSS_TRY(rotated({&entry, 1}, x));
        leaving_.rows.insert(leaving_.rows.end(), x.begin(), x.end());
    }
    leaving_.slots.push_back(entry);
    dirty_ = true;
    --state_.rows;
    state_.removed_since = std::min(state_.removed_since + 1, CellState::most_removed);
    return Status::ok();
}

Status CellIndex::take_out_leaving() {
    if (leaving_.slots.empty()) {
        return Status::ok();
    }
    VSS_TRY(load_directory());
    const std::size_t padded = space_->padded();
    std::vector<std::uint32_t> missed;
    if (leaving_.has_rows(padded)) {
        for (std::size_t i = 0; i < leaving_.slots.size(); ++i) {
            const std::array<std::uint32_t, 2> entries = {leaving_.slots[i], leaving_.slots[i] | second_copy};
            VSS_TRY(take_out_near(leaving_.rows.data() + i * padded, entries, missed));
        }
    } else {
        for (const std::uint32_t slot : leaving_.slots) {
            missed.push_back(slot);
            missed.push_back(slot | second_copy);
        }
    }
    VSS_TRY(take_out_everywhere(std::move(missed)));
    removed_ += leaving_.slots.size();
    leaving_ = {};
    return Status::ok();
}

// Entries of the row x, looked for in the cells nearest to it. Adds those that are not there to `missed`.
Status CellIndex::take_out_near(const float* x, std::span<const std::uint32_t> entries,
                                std::vector<std::uint32_t>& missed) {
    CodeQuery query;
    query.vector.assign(x, x + space_->padded());
    query.prepare(space_->padded());
    std::vector<std::uint32_t> left(entries.begin(), entries.end());
    CellRanking ranking;
    std::vector<RankedCell> ranked;
    directory_->begin_ranking(query, ranking);
    std::size_t at = 0;
    for (const std::size_t count : {likely_cells, less_likely_cells}) {
        directory_->rank_more(query, count, CellDirectory::For::row, ranking, ranked);
        for (; at < ranked.size() && !left.empty(); ++at) {
            const std::uint32_t cell = ranked[at].cell;
            std::shared_ptr<const CodeBlocks> blocks;
            VSS_TRY(codes(cell, directory_->info(cell), blocks));
            for (std::size_t j = 0; j < left.size();) {
                const std::size_t place = blocks->find(left[j]);
                if (place == blocks->size()) {
                    ++j;
                    continue;
                }
                VSS_TRY(take_out_at(cell, {&place, 1}, blocks));
                left.erase(left.begin() + static_cast<std::ptrdiff_t>(j));
                VSS_TRY(codes(cell, directory_->info(cell), blocks));
            }
        }
    }
    missed.insert(missed.end(), left.begin(), left.end());
    return Status::ok();
}

// `places` in the cell's codes, ascending. The codes are left as they are.
Status CellIndex::take_out_at(std::uint32_t cell, std::span<const std::size_t> places,
                              const std::shared_ptr<const CodeBlocks>& blocks) {
    Working* changed = nullptr;
    if (const auto at = working_.find(cell); at != working_.end()) {
        changed = &at->second;
        changed->codes = changed->codes->clone();
    } else {
        begin_working(cell, blocks->clone(), changed);
    }
    CellInfo& info = changing_directory().changing_info(cell);
    const std::uint32_t primaries = info.primaries;
    // From the last: the entry that takes a place is one that stays.
    for (auto place = places.rbegin(); place != places.rend(); ++place) {
        touch(*changed, *place);
        touch(*changed, changed->codes->size() - 1);
        info.primaries -= (changed->codes->entry(*place) & second_copy) == 0 ? 1U : 0U;
        --info.entries;
        changed->codes->remove(*place);
    }
    changed_cells_.insert(cell);
    // Cells differ in size as neighbourhoods do: one that was small all along is not merged for a row that goes, but
    // when it shrank below a limit, then half of it.
    for (std::size_t limit = tuning_.merge_below; limit > 0; limit /= 2) {
        if (primaries >= limit && info.primaries < limit) {
            unbalanced_.insert(cell);
        }
    }
    return Status::ok();
}

// As codes(), but what is read is not kept: a pass over all cells must not push out of the cache what searches use.
Status CellIndex::codes_in_passing(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& out) {
    if (const auto at = working_.find(cell); at != working_.end()) {
        out = at->second.codes;
        return Status::ok();
    }
    const CellInfo& info = directory_->info(cell);
    out = Cache::instance().get_as<CodeBlocks>({info.version, CacheKind::codes, store_.column(), cell, space_key_});
    if (out == nullptr || !out->fits(space_->padded(), info.entries)) {
        auto read = std::make_shared<CodeBlocks>(space_->padded());
        VSS_TRY(read_codes(store_, *directory_, cell, *read));
        out = std::move(read);
    }
    return Status::ok();
}

// One pass over the cells, until all entries are found. A first copy must be; a row that came when there was a single
// cell never got a second.
Status CellIndex::take_out_everywhere(std::vector<std::uint32_t> entries) {
    if (entries.empty()) {
        return Status::ok();
    }
    std::array<std::vector<std::uint64_t>, 2> wanted;  // bits by slot, of both copies
    std::sort(entries.begin(), entries.end());
    for (std::vector<std::uint64_t>& bits : wanted) {
        bits.resize((*std::max_element(
                         entries.begin(), entries.end(),
                         [](std::uint32_t a, std::uint32_t b) { return (a & ~second_copy) < (b & ~second_copy); }) &
                     ~second_copy) /
                        64 +
                    1);
    }
    for (const std::uint32_t entry : entries) {
        const std::uint32_t slot = entry & ~second_copy;
        wanted[entry == slot ? 0 : 1][slot / 64] |= std::uint64_t{1} << (slot % 64);
    }
    std::size_t left = entries.size();
    std::vector<std::size_t> places;
    for (std::uint32_t cell = 0; cell < directory_->size() && left > 0; ++cell) {
        if (directory_->info(cell).version == 0) {
            continue;
        }
        std::shared_ptr<const CodeBlocks> blocks;
        VSS_TRY(codes_in_passing(cell, blocks));
        places.clear();
        for (std::size_t i = 0; i < blocks->size(); ++i) {
            const std::uint32_t entry = blocks->entry(i);
            const std::uint32_t slot = entry & ~second_copy;
            std::vector<std::uint64_t>& bits = wanted[entry == slot ? 0 : 1];
            if (slot / 64 < bits.size() && (bits[slot / 64] >> (slot % 64) & 1) != 0) {
                bits[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
                places.push_back(i);
            }
        }
        if (!places.empty()) {
            left -= places.size();
            VSS_TRY(take_out_at(cell, places, blocks));
        }
        if (cell % cells_between_looks == cells_between_looks - 1) {
            VSS_TRY(write_working_if_large());
        }
    }
    for (std::size_t word = 0; word < wanted[0].size(); ++word) {
        if (wanted[0][word] != 0) {
            return Status::corrupt(cat("slot ", word * 64 + static_cast<std::size_t>(std::countr_zero(wanted[0][word])),
                                       " is in no cell"));
        }
    }
    return Status::ok();
}

}  // namespace vss
