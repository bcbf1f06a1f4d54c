// CellSearch: what a recall needs, measured on the table's own rows. What a search makes of it: cell_learned.cpp.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <span>

#include "base/random.h"
#include "base/scoped_value.h"
#include "index/cells/cell_search.h"
#include "kernels/rotation.h"

namespace vss {
namespace {

// So far below what was asked for a recall may fall.
constexpr double recall_tolerance = 0.01;
// Two rows in five are asked for so many neighbours, which tell as much as they are; all for fewer, with the widths of
// so high a recall.
constexpr std::size_t most_wanted = LearnedRecall::ks[LearnedRecall::ks.size() - 2];
constexpr std::size_t asked_for_most(std::size_t rows) {
    return rows * 2 / 5;
}
constexpr double truth_recall = 0.99;
// Cells are scanned until no more misses than so many are expected for each neighbour and cell scanned: no recall of
// levels needs less.
constexpr float fewest_misses = 3e-6F;
// Most data need that far more: once some rows were asked, the others are asked until so much less is expected than the
// highest of levels needs by those. What lies beyond is then a small part of what that level may miss.
constexpr std::size_t asked_in_full = 40;
constexpr float beyond_need = 4;
// And so many in any case.
constexpr std::size_t least_cells_scanned = 64;
// Of the misses that a recall allows, those that are left to codes (cell_search_scan.cpp), which the rows asked do not
// show.
constexpr double lost_by_codes = 0.1;
// Vectors measured to learn: some, and so many for each row of the table.
constexpr std::uint64_t measured_in_all = 2'000'000;
constexpr std::uint64_t measured_per_row = 4;
constexpr std::size_t fewest_samples = 32;
// The first rows asked tell what cosines are like, and no more.
constexpr std::size_t pilots = 12;
// What reading a row from the file's pages counts for.
constexpr std::uint64_t cold_weight = 8;
// Where a search of a row measures more than this share of all rows, codes tell too little to be of use.
constexpr std::uint64_t flood_share = 2;
constexpr std::uint64_t least_flood = 4000;
constexpr std::size_t floods_to_tell = 8;

// One row asked, for one of LearnedRecall::ks.
struct Asked {
    std::vector<float> expected;        // least misses expected so far for each cell scanned, after each cell
    std::vector<std::uint32_t> places;  // the cells, from 0, that its neighbours were found in, ascending
    double farthest = 0;                // distance of the last of them
    double variance = 0;                // of the cosines that its search has seen (cell_model.h)
};

// How many cells are scanned until no more than `misses` are expected for each of them.
std::size_t cells_until(const Asked& asked, double misses) {
    const auto at = std::partition_point(asked.expected.begin(), asked.expected.end(),
                                         [&](float expected) { return static_cast<double>(expected) > misses; });
    const auto cells = static_cast<std::size_t>(at - asked.expected.begin()) + 1;
    return std::min(cells, asked.expected.size());
}

std::size_t found_in(const Asked& asked, std::size_t cells) {
    return static_cast<std::size_t>(std::lower_bound(asked.places.begin(), asked.places.end(), cells) -
                                    asked.places.begin());
}

using AskedRows = std::span<const Asked* const>;

double recall_at(AskedRows rows, double misses) {
    std::size_t found = 0;
    std::size_t wanted = 0;
    for (const Asked* const asked : rows) {
        found += found_in(*asked, cells_until(*asked, misses));
        wanted += asked->places.size();
    }
    return wanted > 0 ? static_cast<double>(found) / static_cast<double>(wanted) : 1;
}

// Standard error of that: neighbours of one row may be found or missed together.
double error_at(AskedRows rows, double misses) {
    double sum = 0;
    double squares = 0;
    double count = 0;
    for (const Asked* const asked : rows) {
        if (!asked->places.empty()) {
            const double share = static_cast<double>(found_in(*asked, cells_until(*asked, misses))) /
                                 static_cast<double>(asked->places.size());
            sum += share;
            squares += share * share;
            ++count;
        }
    }
    return count > 1 ? std::sqrt(std::max(squares / count - sum / count * (sum / count), 0.0) / count) : 0;
}

// The most misses to expect for each cell scanned at which as many neighbours are found as `aim` says; -1: however few
// are expected, no such search finds them.
double most_misses(AskedRows rows, double aim, double recall) {
    double low = std::log(1e-12);
    if (recall_at(rows, std::exp(low)) < recall) {
        return -1;
    }
    double high = std::log(1e4);
    for (int round = 0; round < 40; ++round) {
        const double middle = (low + high) / 2;
        (recall_at(rows, std::exp(middle)) >= aim ? low : high) = middle;
    }
    return std::exp(low);
}

// After the first cell no more than the recall allows if the model is right, however easy the rows asked were: queries
// from outside need not be.
double most_trusted(double recall) {
    return 1 - recall;
}

// A query is no member of any cell, but a row has pulled its own cell's centroid c towards itself: in cells of a
// hundred rows enough to move that cell forward by several places. This is its score had the row x never been there,
// from c' = (n c - x) / (n - 1) for means of n rows. A centroid of directions is the sum of its members brought to
// length 1; that sum is about n <x, c> long.
float score_without(float score, const CellInfo& info, double square, Estimate estimate, bool spherical) {
    const double n = std::max<double>(info.primaries, 2);
    if (spherical) {
        const double cosine = -static_cast<double>(score) / std::max(std::sqrt(square), 1e-30);
        const double sum = n * cosine;
        const double rest = sum * sum - 2 * sum * cosine + 1;
        return static_cast<float>((1 - sum * cosine) / std::sqrt(std::max(rest, 1e-12)) * std::sqrt(square));
    }
    if (estimate == Estimate::product) {
        return static_cast<float>((n * static_cast<double>(score) + square) / (n - 1));
    }
    return static_cast<float>((static_cast<double>(score) + square) * (n / (n - 1)) * (n / (n - 1)) - square);
}

// What the search of a row has seen for one of LearnedRecall::ks.
template <typename Trace>
Asked asked_of(Trace& trace, std::size_t i, std::span<const Neighbor> found) {
    Asked out{std::move(trace.expected[i]), {}, 0, trace.variance};
    for (const Neighbor& neighbor : found.first(std::min<std::size_t>(LearnedRecall::ks[i], found.size()))) {
        // Rows of the tail are always looked at.
        const auto at = trace.at.find(trace.slots.at(neighbor.rowid));
        out.places.push_back(at == trace.at.end() ? 0 : at->second);
        out.farthest = neighbor.reported();
    }
    std::sort(out.places.begin(), out.places.end());
    return out;
}

std::vector<const Asked*> pointers_to(std::span<const Asked> asked) {
    std::vector<const Asked*> out(asked.size());
    std::transform(asked.begin(), asked.end(), out.begin(), [](const Asked& row) { return &row; });
    return out;
}

// Rows asked for the same number of neighbours, and such parts of them as may be of one kind.
class AskedSample {
  public:
    // Of the rows' own memory, which outlives it.
    explicit AskedSample(std::span<const Asked> asked)
        : all_(pointers_to(asked)),
          nearest_(sorted_by(all_, [](const Asked& row) { return row.farthest; })),
          farthest_(sorted_by(all_, [](const Asked& row) { return -row.farthest; })),
          least_varied_(sorted_by(all_, [](const Asked& row) { return row.variance; })),
          most_varied_(sorted_by(all_, [](const Asked& row) { return -row.variance; })) {}

    [[nodiscard]] AskedRows all() const { return all_; }
    [[nodiscard]] std::size_t size() const { return all_.size(); }
    // Whether a single neighbour is wanted.
    [[nodiscard]] bool is_of_one() const { return !all_.empty() && all_.front()->places.size() == 1; }

    // The rows whose neighbours lie nearest or farthest, and those whose searches have seen the least or the greatest
    // variance of cosines, so many of each.
    [[nodiscard]] std::array<AskedRows, 4> kinds(std::size_t count) const {
        return {AskedRows(nearest_).first(count), AskedRows(farthest_).first(count),
                AskedRows(least_varied_).first(count), AskedRows(most_varied_).first(count)};
    }
    // The rows whose searches go on for longest until no more than `misses` are expected.
    [[nodiscard]] std::vector<const Asked*> longest(std::size_t count, double misses) const {
        std::vector<const Asked*> out =
            sorted_by(all_, [&](const Asked& row) { return -static_cast<double>(cells_until(row, misses)); });
        out.resize(count);
        return out;
    }

  private:
    template <typename Order>
    static std::vector<const Asked*> sorted_by(AskedRows rows, const Order& order) {
        std::vector<std::pair<double, std::size_t>> ordered;
        ordered.reserve(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            ordered.emplace_back(order(*rows[i]), i);
        }
        std::sort(ordered.begin(), ordered.end());
        std::vector<const Asked*> out;
        out.reserve(rows.size());
        for (const auto& [value, i] : ordered) {
            out.push_back(rows[i]);
        }
        return out;
    }

    std::vector<const Asked*> all_;
    std::vector<const Asked*> nearest_;
    std::vector<const Asked*> farthest_;
    std::vector<const Asked*> least_varied_;
    std::vector<const Asked*> most_varied_;
};

// The most misses at which searches reach the recall, by the rows asked. They are a sample: where it is small, what is
// wanted lies two standard errors above what may just be. Of a single neighbour nothing may just be missing: it is near
// a row because it helped to place that row's cell, which it does for no query, and so is found two in a hundred more
// often.
float misses_of_all(const AskedSample& asked, double recall) {
    const double wanted = recall + lost_by_codes * (1 - recall);
    const double error = error_at(asked.all(), most_misses(asked.all(), wanted, recall));
    const double allowed = asked.is_of_one() ? 0 : recall_tolerance;
    const double aim = std::min(wanted + std::max(2 * error - allowed, 0.0), 1 - (1 - recall) / 4);
    return static_cast<float>(std::min(most_misses(asked.all(), aim, recall), most_trusted(recall)));
}

// Where a table holds rows of several kinds, queries may all be like those of one of them: so much fewer misses may be
// expected that each of these reach the recall too: a fifth of the rows, those whose searches go on for longest, and
// each of AskedSample::kinds(). `of_all`: misses_of_all() of these rows.
float share_for_kinds(const AskedSample& asked, double recall, float of_all) {
    constexpr std::size_t share = 5;
    constexpr std::size_t least = 12;
    constexpr double few = 1.0 / 8;
    const std::size_t count = std::max(asked.size() / share, least);
    if (of_all <= 0 || 2 * count > asked.size()) {
        return 1;
    }
    const double all = static_cast<double>(of_all);
    const double aim = recall + lost_by_codes * (1 - recall) - recall_tolerance;
    double out = 1;
    const auto hold = [&](AskedRows kind) {
        const double error = error_at(kind, most_misses(kind, aim, 0));
        out = std::min(out, most_misses(kind, aim - error / 2, 0) / all);
    };
    hold(asked.longest(count, few * all));
    for (const AskedRows kind : asked.kinds(count)) {
        hold(kind);
    }
    return static_cast<float>(out);
}

float misses_by(const AskedSample& asked, double recall) {
    const float of_all = misses_of_all(asked, recall);
    return of_all * share_for_kinds(asked, recall, of_all);
}

// Rows are a sample: by it alone a higher recall could need less than a lower one.
float no_more_than_before(float misses, std::span<const float> of_levels, std::size_t level) {
    return level > 0 && of_levels[level - 1] > 0 ? std::min(misses, of_levels[level - 1]) : misses;
}

// Below what the highest level needs by these rows, for any k. Where one is asked of each row there are too few of them
// to tell what a high recall needs: so the fewest neighbours are left out.
float misses_beyond_need(std::span<const std::vector<Asked>> asked) {
    float need = std::numeric_limits<float>::infinity();
    for (const std::vector<Asked>& of_k : asked) {
        need = std::min(need, misses_by(AskedSample(of_k), static_cast<double>(LearnedRecall::levels.back())));
    }
    return std::max(need / beyond_need, fewest_misses);
}

}  // namespace

// Moves the row's own cell back to where it would be without the row.
Status CellSearch::rank_as_stranger(std::uint32_t slot, std::vector<RankedCell>& ranked) {
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        RankedCell at = ranked[i];
        std::shared_ptr<const CodeBlocks> held;
        const CodeBlocks* codes = nullptr;
        VSS_TRY(cell_codes(at.cell, held, codes));
        if (codes->find(slot) == codes->size()) {
            continue;
        }
        const CellSpace& space = index_.space();
        at.score =
            score_without(at.score, directory_->info(at.cell), query_.square, space.estimate(), space.is_spherical());
        ranked.erase(ranked.begin() + static_cast<std::ptrdiff_t>(i));
        ranked.insert(std::lower_bound(ranked.begin(), ranked.end(), at,
                                       [](const RankedCell& a, const RankedCell& b) { return a.score < b.score; }),
                      at);
        break;
    }
    return Status::ok();
}

// For each of LearnedRecall::ks what is expected beyond the k-th best so far.
void CellSearch::expect_by_k(const std::vector<Neighbor>& best) {
    std::vector<float> distances;
    distances.reserve(best.size());
    for (const Neighbor& neighbor : best) {
        distances.push_back(static_cast<float>(neighbor.reported() / unit_));
    }
    std::sort(distances.begin(), distances.end());
    for (std::size_t i = trace_->first; i < trace_->end; ++i) {
        if (distances.size() >= LearnedRecall::ks[i]) {
            model_.expect(distances[LearnedRecall::ks[i] - 1], expected_by_k_[i]);
        } else {
            expected_by_k_[i].left = std::numeric_limits<double>::infinity();
        }
    }
}

// True: the search that is traced has seen enough.
bool CellSearch::note_expected(double rows) {
    const double unseen = std::max(1 - static_cast<double>(costs_.entries) / (2 * rows), 0.0);
    bool enough = true;
    for (std::size_t i = trace_->first; i < trace_->end; ++i) {
        std::vector<float>& expected = trace_->expected[i];
        const double left = costs_.cells < cells_per_sum(directory_->live()) ? std::numeric_limits<double>::infinity()
                                                                             : expected_by_k_[i].left;
        const double now =
            left * unseen / LearnedRecall::ks[i] / static_cast<double>(std::max<std::uint64_t>(costs_.cells, 1));
        const float least = expected.empty() ? std::numeric_limits<float>::infinity() : expected.back();
        expected.push_back(std::min(least, static_cast<float>(std::max(now, 0.0))));
        enough = enough && expected.back() <= enough_misses_;
    }
    trace_->entries.push_back(costs_.entries);
    enough = enough && costs_.cells >= std::max(least_cells_scanned, directory_->live() / 16);
    trace_->flooded = costs_.reranked > std::max(least_flood, index_.state().rows / flood_share);
    return enough || trace_->flooded;
}

// The same before each cell.
bool CellSearch::has_told_enough(double rows, const std::vector<Neighbor>& best) {
    if (std::any_of(expected_by_k_.begin(), expected_by_k_.end(),
                    [](const Expected& expected) { return expected.is_worn(); })) {
        expect_by_k(best);
    }
    return costs_.cells > 0 && note_expected(rows);
}

void LearnedRecall::go_on_to_last() {
    constexpr std::size_t last = ks.size() - 1;
    for (std::size_t i = 0; i < levels.size(); ++i) {
        const float high = misses[last - 1][i];
        const float low = misses[last - 2][i];
        misses[last][i] = high > 0 && low > 0 ? high * std::min(high / low, 1.0F) : high;
    }
}

// What was decoded while recall was learned is let go.
void CellSearch::forget_rows() {
    for (SegmentView& view : segments_) {
        view.cold = 0;
        view.hold(nullptr);
    }
}

// A search for a row of the table, which is left out, that writes down what it sees.
Status CellSearch::ask_for_row(std::uint32_t slot, const std::byte* vector, std::size_t wanted, Trace& trace,
                               std::vector<Neighbor>& found) {
    const CellQuery query{vector, wanted, truth_recall, nullptr, nullptr, 0};
    stranger_ = slot;
    const ScopedValue tracing(trace_, &trace);
    for (Expected& expected : expected_by_k_) {
        expected.restart();
    }
    bool exact = false;
    Status status = begin(query);
    if (status.is_ok()) {
        status = scan_cells(query, found, exact);
    }
    double mean = 0;
    (void)model_.seen(mean, trace.variance);
    return status;
}

// A search for a row drawn of the slots from `from` on, by its `vector`. `is_there`: false if the slot has none.
Status CellSearch::ask_any_row(SplitMix& random, std::uint64_t from, std::size_t wanted, Trace& trace,
                               std::vector<std::byte>& vector, std::vector<Neighbor>& found, bool& is_there) {
    const auto slot = static_cast<std::uint32_t>(from + random.below(segments_.size() * rows_.segment_slots() - from));
    is_there = false;
    std::int64_t rowid = 0;
    found.clear();
    VSS_TRY(rows_.read_slot(slot, is_there, rowid, vector));
    if (is_there) {
        VSS_TRY(ask_for_row(slot, vector.data(), wanted, trace, found));
        std::sort_heap(found.begin(), found.end());
    }
    return Status::ok();
}

// The last of LearnedRecall::ks is asked of three in fifty, as it takes longer and each of them tells more.
Status CellSearch::learn_last_k(std::size_t samples, SplitMix& random, LearnedRecall& out) {
    constexpr std::size_t last = LearnedRecall::ks.size() - 1;
    constexpr std::size_t least_rows_asked = 8;
    const std::size_t rows_asked = std::max(samples * 3 / 50, least_rows_asked);
    constexpr std::uint64_t least_rows_per_neighbor = 4;
    out.go_on_to_last();
    const std::uint64_t rows = index_.state().rows;
    if (rows < least_rows_per_neighbor * LearnedRecall::ks[last]) {
        return Status::ok();
    }
    std::vector<std::byte> vector(rows_.vector_bytes());
    std::vector<Neighbor> found;
    std::vector<Asked> asked;
    std::uint64_t measured = 0;
    for (std::size_t tries = 0; asked.size() < rows_asked && tries < 20 * rows_asked; ++tries) {
        Trace trace;
        trace.first = last;
        trace.end = last + 1;
        bool is_there = false;
        VSS_TRY(ask_any_row(random, 0, LearnedRecall::ks[last], trace, vector, found, is_there));
        if (!is_there) {
            continue;
        }
        measured += costs_.reranked + cold_weight * costs_.cold_rows;
        if (!trace.flooded) {
            asked.push_back(asked_of(trace, last, found));
        }
        if (measured > measured_in_all + measured_per_row * rows) {
            break;
        }
    }
    const AskedSample sample(asked);
    for (std::size_t level = 0; sample.size() >= least_rows_asked && level < LearnedRecall::levels.size(); ++level) {
        const float misses = misses_by(sample, static_cast<double>(LearnedRecall::levels[level]));
        // Where codes tell too little for fewer neighbours, they do for more.
        out.misses[last][level] = out.misses[last - 1][level] > 0 ? no_more_than_before(misses, out.misses[last], level)
                                                                  : out.misses[last - 1][level];
    }
    return Status::ok();
}

Status CellSearch::learn(std::size_t samples, LearnedRecall& out) {
    out = {};
    VSS_TRY(refresh());
    const std::uint64_t rows = index_.state().rows;
    // A row alone has no neighbours.
    if (!index_.state().is_celled() || segments_.empty() || rows < 2) {
        return Status::ok();
    }
    SplitMix random(rows);
    std::vector<std::byte> vector(rows_.vector_bytes());
    std::vector<Neighbor> found;
    std::array<std::vector<Asked>, LearnedRecall::ks.size() - 1> asked;
    std::vector<std::vector<std::uint64_t>> entries;  // scanned up to each cell
    std::uint64_t measured = 0;
    std::size_t flooded = 0;
    double mean_sum = 0;
    double variance_sum = 0;
    std::size_t told = 0;
    std::size_t pilot = 0;
    std::vector<std::byte> tried;
    enough_misses_ = fewest_misses;
    model_.suppose(0, 1 / static_cast<float>(dim_));
    const std::size_t wanted = std::min<std::uint64_t>(most_wanted, rows - 1);
    for (std::size_t tries = 0; entries.size() + flooded < samples && tries < 20 * samples; ++tries) {
        Trace trace;
        trace.end = entries.size() + flooded < asked_for_most(samples) ? trace.end : trace.end - 1;
        bool is_there = false;
        VSS_TRY(ask_any_row(random, 0, std::min<std::size_t>(wanted, LearnedRecall::ks[trace.end - 1]), trace, vector,
                            found, is_there));
        if (!is_there) {
            continue;
        }
        tried.insert(tried.end(), vector.begin(), vector.begin() + (pilot < pilots ? vector.size() : 0));
        measured += costs_.reranked + cold_weight * costs_.cold_rows;
        if (pilot < pilots) {
            double mean = 0;
            double variance = 0;
            if (model_.seen(mean, variance)) {
                mean_sum += mean;
                variance_sum += variance;
                ++told;
            }
            if (++pilot == pilots && told > 0) {
                out.cosine_mean = static_cast<float>(mean_sum / static_cast<double>(told));
                out.cosine_variance = static_cast<float>(variance_sum / static_cast<double>(told));
                model_.suppose(out.cosine_mean, out.cosine_variance);
            }
            continue;
        }
        if (trace.flooded) {
            ++flooded;
        } else {
            for (std::size_t i = trace.first; i < trace.end; ++i) {
                asked[i].push_back(asked_of(trace, i, found));
            }
            entries.push_back(std::move(trace.entries));
            if (entries.size() == asked_in_full) {
                enough_misses_ = misses_beyond_need(std::span(asked).subspan(1));
            }
        }
        if (flooded >= floods_to_tell && flooded > entries.size()) {
            break;
        }
        if (entries.size() + flooded >= fewest_samples && measured > measured_in_all + measured_per_row * rows) {
            break;
        }
    }
    forget_rows();
    out.samples = static_cast<std::uint32_t>(entries.size() + flooded);
    if (out.samples == 0) {
        return Status::ok();
    }
    out.cells_then = static_cast<std::uint32_t>(directory_->live());
    out.rows = rows;
    out.when =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    if (flooded > entries.size()) {
        for (auto& misses : out.misses) {
            misses.fill(-1);
        }
        out.cells.fill(static_cast<float>(out.cells_then));
        out.scanned.fill(1);
        VSS_TRY(decide_ways(tried, out));
        out.go_on_to_last();
        return Status::ok();
    }
    const std::vector<AskedSample> asked_by_k(asked.begin(), asked.end());
    for (std::size_t level = 0; level < LearnedRecall::levels.size(); ++level) {
        const double recall = static_cast<double>(LearnedRecall::levels[level]);
        float share = 1;
        for (std::size_t i = asked.size(); i-- > 0;) {
            const float of_all = misses_of_all(asked_by_k[i], recall);
            // One neighbour of each of so few rows does not tell which are hard: what ten have told is taken.
            share = i > 0 ? share_for_kinds(asked_by_k[i], recall, of_all) : share;
            out.misses[i][level] = no_more_than_before(of_all * share, out.misses[i], level);
        }
        double cells = 0;
        double scanned = 0;
        const std::vector<Asked>& typical = asked[1];
        for (std::size_t n = 0; n < typical.size(); ++n) {
            const std::size_t until = cells_until(typical[n], static_cast<double>(out.misses[1][level]));
            cells += static_cast<double>(until);
            scanned += until > 0 ? static_cast<double>(entries[n][until - 1]) : 0;  // all rows wait in the tail
        }
        const auto count = static_cast<double>(typical.size());
        out.cells[level] = static_cast<float>(cells / count);
        out.scanned[level] = static_cast<float>(std::min(scanned / count / (2 * static_cast<double>(rows)), 1.0));
    }
    VSS_TRY(decide_ways(tried, out));
    Status status = learn_last_k(samples, random, out);
    forget_rows();
    return status;
}

Status CellSearch::holds_for(Sample sample, bool& holds) {
    constexpr std::size_t which = 1;  // of LearnedRecall::ks
    constexpr std::array<double, 2> levels = {0.8, 0.95};
    // Most commits that take a table past a size are loads, whose time the rows asked are part of: no more are asked of
    // the newest than tell.
    const std::size_t at_a_time = sample == Sample::newest ? 24 : 64;
    const std::size_t rows_asked = sample == Sample::newest ? 4 * at_a_time : at_a_time;
    constexpr double certain = 2;  // standard errors
    constexpr double beyond = 4;   // neighbours are sought until so many times less is expected
    holds = true;
    VSS_TRY(refresh());
    const std::size_t k = LearnedRecall::ks[which];
    const double misses = misses_for(levels.back(), k);
    if (misses <= 0 || index_.state().rows <= k || segments_.empty()) {
        return Status::ok();
    }
    const std::uint64_t slots = segments_.size() * rows_.segment_slots();
    // New rows lie behind the others, or in the places of some that went.
    const std::uint64_t from = sample == Sample::newest ? std::min<std::uint64_t>(learned().rows, slots * 4 / 5) : 0;
    SplitMix random(index_.state().rows);
    std::vector<std::byte> vector(rows_.vector_bytes());
    std::vector<Neighbor> found;
    std::vector<Asked> asked;
    std::size_t flooded = 0;
    model_.suppose(learned().cosine_mean, learned().cosine_variance);
    enough_misses_ = static_cast<float>(misses / beyond);
    // By how many of its standard errors the recall of these rows falls short of a level, where it does so most.
    const auto short_by = [&](AskedRows rows) {
        double most = -1;
        for (const double level : levels) {
            const double error = std::sqrt(level * (1 - level) / (3.4 * static_cast<double>(rows.size())));
            most = std::max(most, (level - recall_at(rows, misses_for(level, k))) / error);
        }
        return most;
    };
    bool is_told = false;
    for (std::size_t tries = 0; !is_told && asked.size() + flooded < rows_asked && tries < 20 * rows_asked; ++tries) {
        Trace trace;
        trace.first = which;
        trace.end = which + 1;
        bool is_there = false;
        VSS_TRY(ask_any_row(random, from, k, trace, vector, found, is_there));
        if (is_there && trace.flooded) {
            ++flooded;
        } else if (is_there) {
            asked.push_back(asked_of(trace, which, found));
            if (asked.size() % at_a_time == 0) {
                const double by = short_by(pointers_to(asked));
                is_told = by <= 0 || by > certain;
            }
        }
    }
    forget_rows();
    const auto reached_by = [&](AskedRows rows) { return short_by(rows) <= 1; };
    const AskedSample all(asked);
    holds = flooded == 0 && all.size() > 0 && reached_by(all.all());
    if (holds && sample == Sample::any) {
        // As share_for_kinds() does, for halves: rows of an easy kind would hide the others.
        const std::array<AskedRows, 4> halves = all.kinds((all.size() + 1) / 2);
        holds = std::all_of(halves.begin(), halves.end(), reached_by);
    }
    return Status::ok();
}

}  // namespace vss
