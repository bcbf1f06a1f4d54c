// CellSearch: where the rows lie that pass a filter.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/prefetch.h"
#include "index/cells/cell_search.h"

namespace vss {
namespace {

// Of so many blocks to come the numbers of their rows are on their way from memory.
constexpr std::size_t numbers_ahead = 4;
// What chance explains: a sum that is so many of its deviations too large.
constexpr double by_chance = 4;

}  // namespace

// All cells' codes are looked at once for each filter, so memory must have room for them.
bool CellSearch::needs_matches(const CellQuery& query) const {
    const std::uint64_t codes = 2 * index_.state().rows * code_block_bytes(index_.space().padded()) / block_rows;
    return query.matches == nullptr && query.k > 0 && query.slots != nullptr && query.slots->limited &&
           query.slots->count > 0 && !takes_matches_by_codes(query) && codes <= Cache::instance().budget() / 2;
}

// Filters often go with what the vectors tell: a language, a kind, an owner. So it is counted where the rows lie that
// pass, where that is not known and needed. By chance a cell of n rows would hold n p of them, with a variance of
// n p (1 - p), p being their share.
Status CellSearch::count_matches(CellQuery& query, CellMatches& out) {
    if (!needs_matches(query)) {
        return Status::ok();
    }
    const SlotFilter& slots = *query.slots;
    const std::size_t cells = directory_->size();
    const std::size_t block_bytes = code_block_bytes(index_.space().padded());
    out.rows.assign((cells + 7) / 8 * 8, 0);
    out.entries.assign(cells, 0);
    double rows = 0;
    double found = 0;
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
        if (directory_->info(cell).version == 0) {
            continue;
        }
        std::shared_ptr<const CodeBlocks> held;
        const CodeBlocks* codes = nullptr;
        VSS_TRY(cell_codes(cell, held, codes));
        const std::size_t blocks = codes->blocks();
        std::uint32_t first = 0;
        std::uint32_t second = 0;
        for (std::size_t b = 0; b < blocks; ++b) {
            if (b + numbers_ahead < blocks) {
                prefetch(codes->block(b) + numbers_ahead * block_bytes, block_rows * sizeof(std::uint32_t));
            }
            std::array<std::uint32_t, block_rows> entries;
            std::memcpy(entries.data(), codes->block(b), sizeof entries);
            const std::size_t n = std::min(block_rows, codes->size() - b * block_rows);
            for (std::size_t i = 0; i < n; ++i) {
                const std::uint32_t passes = slots.passes(entries[i] & ~second_copy) ? 1 : 0;
                const std::uint32_t is_second = (entries[i] & second_copy) != 0 ? 1 : 0;
                first += passes & (is_second ^ 1U);
                second += passes & is_second;
            }
        }
        out.rows[cell] = static_cast<float>(first);
        out.entries[cell] = first + second;
        rows += directory_->info(cell).primaries;
        found += first;
    }
    const double share = rows > 0 ? found / rows : 0;
    double sum = 0;
    double count = 0;
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
        const double n = directory_->info(cell).version != 0 ? directory_->info(cell).primaries : 0;
        if (n > 0 && share > 0 && share < 1) {
            const double off = static_cast<double>(out.rows[cell]) - n * share;
            sum += off * off / (n * share * (1 - share));
            ++count;
        }
    }
    out.is_uneven = sum > count + by_chance * std::sqrt(2 * count);
    query.matches = &out;
    return Status::ok();
}

}  // namespace vss
