// CellSearch: what ways to search cost, by counts of work and what each takes on this machine, and the way taken.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/scoped_value.h"
#include "index/cells/cell_search.h"

namespace vss {
namespace {

// Before a search has spent this share of what looking at every row costs, it does not ask whether that is cheaper:
// asking goes through all cells, and at each look it took two fifths of a search of 40,000 rows.
constexpr double least_spent = 0.25;
// What takes as long as looking at every row is given up then, unless so little is left.
constexpr double little_left = 0.2;
// A 4-bit code read from the file, or made of its vector, and a byte of a row read from the file, in nanoseconds.
constexpr double code_read_ns = 250;
constexpr double code_made_ns = 2000;
constexpr double byte_read_ns = 0.4;
// One row found in the file.
constexpr double row_found_ns = 2500;
// A cell ranked, in sign codes scanned.
constexpr double rank_cost = 2;
// Where the rows themselves are looked at, one search in so many goes by codes, so that what these tell stays known.
constexpr std::uint64_t queries_between_tries = 512;
constexpr float newest_weight = 0.2F;
// The same where cells took longer than every row does; and how many searches tell that.
constexpr std::uint64_t queries_between_cells = 32;
constexpr std::uint32_t searches_to_tell = 12;
constexpr float newest_of_cells = 0.05F;
// Where more than one of so many rows is measured, that is done in order.
constexpr double in_order_from = 32;
// Rows asked to decide what a recall and k cost.
constexpr std::size_t trials = 6;
// A search by cells so much cheaper than the least that looking at every row can take is not compared with it.
constexpr double clearly = 0.5;

}  // namespace

const LearnedRecall& CellSearch::learned() const {
    return tried_ != nullptr ? *tried_ : index_.state().learned;
}

std::size_t CellSearch::sort_of(double recall, std::size_t k) {
    constexpr std::size_t lengths = 12;
    const auto length = static_cast<std::size_t>(std::bit_width(std::max(k, std::size_t{1})));
    const std::size_t kind = recall >= 1 ? 2 : recall >= 0.97 ? 1 : 0;
    static_assert(sorts == 3 * lengths);
    return kind * lengths + std::min(length, lengths) - 1;
}

// `us`: 0 if it says nothing.
void CellSearch::note_by_codes(double recall, std::size_t k, std::uint64_t measured, double us) {
    const auto rows = static_cast<float>(std::max<std::uint64_t>(index_.state().rows, 1));
    Lately& known = lately_[sort_of(recall, k)];
    known.share += (known.searches++ == 0 ? 1 : newest_weight) * (static_cast<float>(measured) / rows - known.share);
    if (us > 0) {
        known.ns += (known.timed++ == 0 ? 1 : newest_weight) * (static_cast<float>(us * 1000) / rows - known.ns);
    }
}

// Looking at every row: by codes, measuring those that codes let pass, or by the rows themselves.
CellSearch::AllRows CellSearch::all_rows(double recall, std::size_t k) const {
    const auto rows = static_cast<double>(index_.state().rows);
    const Lately& known = lately_[sort_of(recall, k)];
    const double share = known.searches > 0                          ? static_cast<double>(known.share)
                         : recall < 1 && misses_for(recall, k) <= -2 ? 1
                                                                     : 0;
    std::uint64_t without = 0;
    for (const SegmentView& view : segments_) {
        without += view.chunks.empty() ? view.info.live : 0;
    }
    const double measured = share * in_order_from > 1 ? units_.ns(units_.in_order) : units_.ns(units_.measure);
    const bool in_memory = rows_fit();
    const double bytes = static_cast<double>(rows_.vector_bytes());
    const double finding = in_memory ? 0 : row_found_ns + bytes * byte_read_ns;
    const double of_a_row =
        known.timed > 0 ? static_cast<double>(known.ns) : units_.ns(units_.code) + share * (measured + finding);
    const double by_codes =
        rows * of_a_row + static_cast<double>(without) * (index_.state().slot_codes ? code_read_ns : code_made_ns);
    const double by_rows = rows * (units_.ns(units_.row) + (in_memory ? 0 : bytes * byte_read_ns));
    const bool codes_are_chosen = index_.tuning().slot_codes.value_or(false);
    return by_rows < by_codes && !codes_are_chosen ? AllRows{true, by_rows} : AllRows{false, by_codes};
}

bool CellSearch::is_brute_better(double recall, std::size_t k) const {
    return index_.state().is_celled() && misses_for(recall, k) < 0 && all_rows(recall, k).by_rows;
}

double CellSearch::spent_ns() const {
    return static_cast<double>(costs_.entries) * units_.ns(units_.entry) +
           static_cast<double>(costs_.refined) * units_.ns(units_.refine) +
           static_cast<double>(costs_.reranked) * units_.ns(units_.measure);
}

void CellSearch::note_by_cells(const CellQuery& query, bool went_over) {
    Lately& known = lately_[sort_of(query.recall, query.k)];
    const double ns = spent_ns() + rank_cost * static_cast<double>(directory_->live()) * units_.ns(units_.entry) +
                      (went_over ? all_rows(query.recall, query.k).ns : 0);
    const float weight = std::max(1 / static_cast<float>(++known.by_cells), newest_of_cells);
    known.cells_ns += weight * (static_cast<float>(ns) - known.cells_ns);
}

// Searches like this one took longer through cells lately than looking at every row takes.
bool CellSearch::cells_cost_more(const CellQuery& query) const {
    const Lately& known = lately_[sort_of(query.recall, query.k)];
    return known.by_cells >= searches_to_tell && queries_ % queries_between_cells != 0 &&
           static_cast<double>(known.cells_ns) > all_rows(query.recall, query.k).ns;
}

// Whether going on to where the scan is expected to end takes longer than looking at every row would.
bool CellSearch::costs_more_than_all(double target, std::uint64_t passed, std::uint64_t from_entries,
                                     const CellQuery& query) const {
    const double spent = spent_ns();
    if (tried_ != nullptr) {
        return spent > trial_limit_;
    }
    const bool filtered = query.slots != nullptr && query.slots->limited;
    const double measured =
        costs_.refined > 0 ? std::min(static_cast<double>(costs_.reranked) / static_cast<double>(costs_.refined), 1.0)
                           : 1.0;
    double all = 0;
    if (filtered) {
        all = static_cast<double>(query.slots->count) * units_.ns(units_.refine);
    } else {
        all = all_rows(query.recall, query.k).ns;
    }
    if (spent < least_spent * all) {
        return false;
    }
    const auto cells = static_cast<double>(std::max<std::uint64_t>(costs_.cells, 1));
    // Where only rows that pass were counted, the others of their cells are scanned with them.
    const double beside = query.uneven() != nullptr
                              ? static_cast<double>(index_.state().rows) / static_cast<double>(query.slots->count)
                              : 1;
    const double entries = 2 * beside * model_.rows_until(expected_, target / cells, cells);
    const double passing = static_cast<double>(passed) / static_cast<double>(from_entries) * entries;
    const double going_on =
        entries * units_.ns(units_.entry) + passing * (units_.ns(units_.refine) + measured * units_.ns(units_.measure));
    return going_on > all || (spent > all && going_on > little_left * all);
}

// In what refresh() saw, by begin()'s query.
Status CellSearch::take_all(const CellQuery& query, std::vector<Neighbor>& out) {
    out.clear();
    const bool filtered = query.slots != nullptr && query.slots->limited;
    if (!filtered && !in_memory_only_ && index_.state().is_celled() && queries_ % queries_between_tries != 0 &&
        all_rows(query.recall, query.k).by_rows) {
        return measure_in_order(query, out);
    }
    // It takes so long that asking for the time is nothing.
    is_timed_ = is_timed_ || !filtered;
    if (query.recall < 1) {
        fine_.set_width(static_cast<float>(width_for_codes(query.recall)));
    }
    return consider_all(query, out);
}

// Every row by the kernel of exact searches.
Status CellSearch::measure_in_order(const CellQuery& query, std::vector<Neighbor>& out) {
    took_all_ = true;
    took_rows_ = true;
    is_timed_ = true;
    const double start = now_us();
    const RowFilter none;
    Nearest nearest(type_, metric_, dim_, query.vector, query.k, query.rows != nullptr ? *query.rows : none);
    const DistanceKernels kernels = scan_kernels(type_, metric_);
    const bool keep = rows_fit();
    std::vector<float> distances;
    std::uint64_t measured = 0;
    for (SegmentView& view : segments_) {
        if (view.info.live == 0) {
            continue;
        }
        std::shared_ptr<const Segment> rows = view.rows();
        if (rows == nullptr) {
            VSS_TRY(rows_.segment(view.info, keep, rows));
            if (keep) {
                view.hold(rows);
            }
        }
        distances.resize(rows->size());
        kernels.one(query.vector, rows->rows.data(), rows->stride, rows->size(), dim_, distances.data());
        nearest.add(*rows, distances.data());
        measured += rows->size();
    }
    out = nearest.finish();
    costs_.reranked += measured;
    const double us = now_us() - start;
    costs_.rerank_us += us;
    // The first time all of them may have been read from the file.
    if (is_timed_ && generation_ != 0 && in_order_generation_ == generation_) {
        units_.row.note(us, measured);
    }
    in_order_generation_ = generation_;
    return Status::ok();
}

// Where looking at every row is cheaper than what was learned, for each k and recall: -1, by codes; -2, by the rows
// themselves. `samples`: vectors of the column.
Status CellSearch::decide_ways(std::span<const std::byte> samples, LearnedRecall& out) {
    const std::size_t bytes = rows_.vector_bytes();
    const std::size_t count = std::min(samples.size() / bytes, trials);
    const auto rows = static_cast<double>(index_.state().rows);
    if (count == 0) {
        return Status::ok();
    }
    // The neighbours of a row of the table include itself.
    const auto query_of = [&](std::size_t i, std::size_t k, double recall) {
        return CellQuery{samples.data() + i * bytes, k + 1, recall, nullptr, nullptr, 0};
    };
    const double least = rows * std::min(units_.ns(units_.code), units_.ns(units_.row));
    LearnedRecall tried = out;
    std::vector<Neighbor> found;
    // What searches through cells take; more than `limit`: at least that.
    const auto by_cells = [&](std::size_t k, double recall, double limit, double& ns) {
        ns = 0;
        const ScopedValue trying(tried_, static_cast<const LearnedRecall*>(&tried));
        trial_limit_ = limit;
        Status status = Status::ok();
        for (std::size_t i = 0; i < count && status.is_ok(); ++i) {
            const CellQuery query = query_of(i, k, recall);
            bool exact = false;
            found.clear();
            status = begin(query);
            is_timed_ = false;
            status = status.is_ok() ? scan_cells(query, found, exact) : status;
            ns += exact ? 2 * limit
                        : spent_ns() + rank_cost * static_cast<double>(directory_->live()) * units_.ns(units_.entry);
        }
        ns /= static_cast<double>(count);
        return status;
    };
    const auto by_codes = [&](std::size_t k, double recall) {
        for (std::size_t i = 0; i < std::min<std::size_t>(count, 2); ++i) {
            const CellQuery query = query_of(i, k, recall);
            VSS_TRY(begin(query));
            is_timed_ = true;
            fine_.set_width(static_cast<float>(width_for_codes(recall)));
            found.clear();
            VSS_TRY(consider_all(query, found));
        }
        return Status::ok();
    };
    // The last of ks follows from the one before.
    for (std::size_t i = 0; i + 1 < LearnedRecall::ks.size(); ++i) {
        const std::size_t k = LearnedRecall::ks[i];
        std::array<float, LearnedRecall::levels.size()>& misses = out.misses[i];
        // The first level from which on every row is looked at; what is below costs less.
        std::size_t low = 0;
        std::size_t high = misses.size();
        while (low < high) {
            const std::size_t level = (low + high) / 2;
            const double recall = static_cast<double>(LearnedRecall::levels[level]);
            bool all = misses[level] < 0;
            if (!all) {
                double ns = 0;
                VSS_TRY(by_cells(k, recall, 8 * least, ns));
                if (ns > clearly * least) {
                    if (lately_[sort_of(recall, k)].searches == 0) {
                        VSS_TRY(by_codes(k, recall));
                    }
                    all = ns > all_rows(recall, k).ns;
                }
            }
            (all ? high : low) = all ? level : level + 1;
        }
        for (std::size_t level = high; level < misses.size(); ++level) {
            const double recall = static_cast<double>(LearnedRecall::levels[level]);
            if (lately_[sort_of(recall, k)].searches == 0) {
                VSS_TRY(by_codes(k, recall));
            }
            misses[level] = all_rows(recall, k).by_rows ? -2 : -1;
        }
    }
    return Status::ok();
}

}  // namespace vss
