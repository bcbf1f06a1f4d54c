#include "index/faiss/faiss_index.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "base/text.h"
#include "index/exact_search.h"
#include "index/nearest.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

// Reading one row by its slot costs about as much as scanning this many.
constexpr std::size_t rows_per_lookup = 40;
// Of a segment's rows, the share that the image must know for it to be looked at row by row.
constexpr std::size_t fresh_share = 4;
// How often a search asks for more candidates before it measures every row.
constexpr int most_tries = 4;
constexpr std::size_t growth = 4;
// Faiss sorts candidates in a heap.
constexpr std::size_t most_candidates = 1 << 20;
// Search settings: Faiss's names for them, and how far they go. Candidates are measured on the rows whatever the
// factory, so that each has the number of them that only Refine has in Faiss.
constexpr std::string_view probes_name = "nprobe";
constexpr std::string_view reach_name = "efSearch";
constexpr std::string_view centroids_name = "quantizer_efSearch";
constexpr std::string_view factor_name = "k_factor";
constexpr std::size_t most_reach = 1 << 16;
constexpr std::size_t most_factor = 1 << 12;

bool same(const std::vector<SegmentInfo>& a, const std::vector<SegmentInfo>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SegmentInfo& x, const SegmentInfo& y) {
        return x.id == y.id && x.version == y.version && x.live == y.live;
    });
}

}  // namespace

FaissIndex::FaissIndex(const IndexContext& context)
    : name_(context.name),
      store_(context.store),
      words_(context.name.words(context.store.column())),
      tables_(context.name, context.store, context.column) {}

Status FaissIndex::inserted(std::uint64_t /*slot*/) {
    ++changes_;
    return Status::ok();
}

Status FaissIndex::removing(std::uint64_t /*slot*/) {
    ++changes_;
    return Status::ok();
}

// --- what the tables say ---------------------------------------------------------------------------------------------

Status FaissIndex::refresh() {
    const Status read = tables_.read_header(header_);
    if (read.code() == Code::corrupt) {
        // A cache that cannot be read is none. check() tells.
        header_ = {};
        damage_ = read.message();
    } else {
        VSS_TRY(read);
    }
    if (!header_.has_image() || header_.generation == damaged_) {
        image_.reset();
    } else if (image_ == nullptr || image_->generation != header_.generation) {
        image_.reset();
        const Status status = tables_.read_image(header_, image_);
        if (status.code() == Code::corrupt) {
            damaged_ = header_.generation;
            damage_ = status.message();
        } else {
            VSS_TRY(status);
        }
    }
    std::vector<SegmentInfo> infos;
    VSS_TRY(store_.segments(infos));
    if (image_ == nullptr) {
        rows_ = 0;
        for (const SegmentInfo& info : infos) {
            rows_ += info.live;
        }
        return Status::ok();
    }
    if (compared_generation_ == image_->generation && same(infos, segments_)) {
        return Status::ok();
    }
    return compare(infos);
}

// Numbers of the image's rows that were read from a segment.
std::pair<std::size_t, std::size_t> FaissIndex::numbers_in(std::uint64_t segment) const {
    const std::uint64_t per = store_.geometry().segment_slots;
    const auto place = [&](std::uint64_t slot) {
        return static_cast<std::size_t>(std::lower_bound(image_->slots.begin(), image_->slots.end(), slot) -
                                        image_->slots.begin());
    };
    return {place(segment * per), place((segment + 1) * per)};
}

Status FaissIndex::compare(const std::vector<SegmentInfo>& infos) {
    std::map<std::uint64_t, Difference> before = std::move(differences_);
    if (compared_generation_ != image_->generation) {
        before.clear();
    }
    differences_.clear();
    compared_generation_ = 0;
    rows_ = 0;
    for (const SegmentInfo& info : infos) {
        rows_ += info.live;
        const auto known = image_->versions.find(info.id);
        if (known != image_->versions.end() && known->second == info.version) {
            continue;
        }
        if (const auto at = before.find(info.id); at != before.end() && at->second.version == info.version) {
            differences_.insert(before.extract(at));
            continue;
        }
        VSS_TRY(store_.check_interrupt());
        VSS_TRY(difference(info, differences_[info.id]));
    }
    // Rows are taken for gone until their segment says otherwise.
    live_.assign((image_->slots.size() + 63) / 64, 0);
    for (const SegmentInfo& info : infos) {
        const auto [first, last] = numbers_in(info.id);
        const auto at = differences_.find(info.id);
        if (at != differences_.end() && at->second.is_scanned) {
            continue;
        }
        for (std::size_t i = first; i < last; ++i) {
            live_[i / 64] |= std::uint64_t{1} << (i % 64);
        }
        if (at != differences_.end()) {
            for (const std::uint32_t number : at->second.gone) {
                live_[number / 64] &= ~(std::uint64_t{1} << (number % 64));
            }
        }
    }
    live_count_ = 0;
    for (const std::uint64_t word : live_) {
        live_count_ += static_cast<std::size_t>(__builtin_popcountll(word));
    }
    segments_ = infos;
    compared_generation_ = image_->generation;
    return Status::ok();
}

Status FaissIndex::difference(const SegmentInfo& info, Difference& out) {
    std::shared_ptr<const Segment> segment;
    VSS_TRY(store_.segment(info, segment));
    out = {};
    out.version = info.version;
    const auto [first, last] = numbers_in(info.id);
    std::size_t number = first;
    const std::size_t bytes = store_.geometry().vector_bytes;
    for (std::size_t i = 0; i < segment->size(); ++i) {
        const std::uint32_t slot = segment->slots[i];
        for (; number < last && image_->slots[number] < slot; ++number) {
            out.gone.push_back(static_cast<std::uint32_t>(number));
        }
        const bool known = number < last && image_->slots[number] == slot;
        if (!known || image_->crcs[number] !=
                          slot_checksum(slot, segment->rowids[i], SlotState::live, {segment->row(i), bytes})) {
            out.fresh.push_back(static_cast<std::uint32_t>(i));
            if (known) {
                out.gone.push_back(static_cast<std::uint32_t>(number));
            }
        }
        number += known ? 1 : 0;
    }
    for (; number < last; ++number) {
        out.gone.push_back(static_cast<std::uint32_t>(number));
    }
    out.is_scanned = out.fresh.size() * fresh_share > segment->size();
    return Status::ok();
}

// --- searching -------------------------------------------------------------------------------------------------------

// False: the vector is too long or too short for float32 sums.
bool FaissIndex::to_floats(const std::byte* vector, float* out) const {
    const Column& column = store_.column();
    decode_vector(column.type, vector, column.dim, out);
    double square = 0;
    for (std::size_t i = 0; i < column.dim; ++i) {
        square += static_cast<double>(out[i]) * out[i];
    }
    if (is_extreme_norm(column.metric, square)) {
        return false;
    }
    if (column.metric == Metric::cosine && square > 0) {
        const double inverse = 1 / std::sqrt(square);
        for (std::size_t i = 0; i < column.dim; ++i) {
            out[i] = static_cast<float>(out[i] * inverse);
        }
    }
    return true;
}

// False: nothing that was learned reaches the recall.
bool FaissIndex::wanted_for(const SearchRequest& request, Wanted& out) const {
    const FaissLearned& learned = header_.learned;
    const std::size_t at = request.k <= FaissLearned::ks[0] ? 0 : 1;
    for (std::size_t i = 0; i < FaissLearned::levels.size(); ++i) {
        if (FaissLearned::levels[i] >= request.recall - 1e-9) {
            const FaissSetting& setting = learned.settings[at][i];
            out.width.own = setting.width;
            out.factor = setting.factor;
            if (request.k > FaissLearned::ks.back()) {
                out.width.own *= 2;
            }
            break;
        }
    }
    return request.settings.empty() ? out.width.own > 0 && out.factor > 0 : set_by(request, at, out);
}

// What settings say, and for the rest what is learned; where nothing is for that recall, the most that is.
bool FaissIndex::set_by(const SearchRequest& request, std::size_t at, Wanted& out) const {
    for (std::size_t i = FaissLearned::levels.size(); i-- > 0 && out.width.own == 0;) {
        out.width.own = header_.learned.settings[at][i].width;
        out.factor = header_.learned.settings[at][i].factor;
    }
    out.width.own = std::max<std::size_t>(out.width.own, 1);
    out.factor = std::max<std::size_t>(out.factor, 1);
    bool has_factor = false;
    for (const SearchSetting& setting : request.settings) {
        const auto value = static_cast<std::size_t>(setting.value);
        if (equal_ignoring_case(setting.name, factor_name)) {
            out.factor = value;
            has_factor = true;
        } else if (equal_ignoring_case(setting.name, centroids_name)) {
            out.width.centroids = value;
        } else {
            out.width.own = value;
            if (equal_ignoring_case(setting.name, reach_name) && !has_factor) {
                // A graph is searched as far as candidates are wanted, however small efSearch is.
                out.factor = std::max<std::size_t>(value / std::max<std::size_t>(request.k, FaissLearned::ks[0]), 1);
            }
        }
    }
    return true;
}

Status FaissIndex::check_settings(const SearchSettings& settings) {
    VSS_TRY(refresh());
    const Column& column = store_.column();
    if (image_ == nullptr && blank_ == nullptr) {
        VSS_TRY(in_words(FaissEngine::make(column.factory, column.dim, column.metric, blank_)));
    }
    const FaissEngine& engine = image_ == nullptr ? *blank_ : *image_->engine;
    struct Known {
        std::string_view name;
        std::size_t most;
    };
    std::vector<Known> known;
    if (engine.knob() == FaissKnob::probes) {
        known.push_back({probes_name, engine.widest()});
    } else if (engine.knob() == FaissKnob::reach) {
        known.push_back({reach_name, most_reach});
    }
    if (engine.has_centroid_graph()) {
        known.push_back({centroids_name, most_reach});
    }
    known.push_back({factor_name, most_factor});
    for (const SearchSetting& setting : settings) {
        const auto at = std::find_if(known.begin(), known.end(),
                                     [&](const Known& one) { return equal_ignoring_case(one.name, setting.name); });
        if (at == known.end()) {
            std::string names;
            for (const Known& one : known) {
                names += cat(names.empty() ? "" : ", ", one.name);
            }
            return Status::invalid(
                cat("an index of factory \"", column.factory, "\" has no ", setting.name, "; it has ", names));
        }
        if (setting.value < 1 || setting.value > at->most) {
            return Status::invalid(cat("expected ", at->name, " from 1 to ", at->most, ", got ", setting.value));
        }
    }
    return Status::ok();
}

Status FaissIndex::search(const SearchRequest& request, SearchAnswer& answer) {
    answer = {};
    costs_ = {};
    VSS_TRY(refresh());
    const RowFilter& filter = request.filter;
    // Where the nearest rows are ruled out by their distance, how many to look at is not known beforehand.
    const bool ruled_out = filter.distance_above != -std::numeric_limits<double>::infinity();
    const bool few =
        filter.allowed.has_value() && request.members_known && request.members.size() * rows_per_lookup <= rows_;
    Wanted wanted;
    if (image_ == nullptr || request.k == 0 || request.recall >= 1 || ruled_out || few || live_count_ == 0 ||
        !wanted_for(request, wanted)) {
        return exact_search(store_, request, answer.neighbors);
    }
    for (int i = 0; i < most_tries; ++i) {
        bool enough = false;
        VSS_TRY(search_image(request, wanted, answer, enough));
        if (enough) {
            return Status::ok();
        }
        const bool was_all = wanted.width.own >= image_->engine->widest() &&
                             request.k * wanted.factor >= std::min(image_->slots.size(), most_candidates);
        if (was_all) {
            break;
        }
        wanted.width.own *= growth;
        wanted.factor *= growth;
    }
    answer = {};
    costs_ = {};
    return exact_search(store_, request, answer.neighbors);
}

Status FaissIndex::search_image(const SearchRequest& request, const Wanted& wanted, SearchAnswer& answer,
                                bool& enough) {
    const Column& column = store_.column();
    // Rows that Faiss may find.
    std::vector<std::uint64_t> allowed;
    std::size_t allowed_count = live_count_;
    if (request.filter.allowed.has_value()) {
        allowed.assign(live_.size(), 0);
        allowed_count = 0;
        for (const auto& [rowid, slot] : request.members) {
            const std::size_t number =
                slot > max_slots ? image_->slots.size() : image_->find(static_cast<std::uint32_t>(slot));
            if (number < image_->slots.size() && is_live(static_cast<std::uint32_t>(number))) {
                allowed[number / 64] |= std::uint64_t{1} << (number % 64);
                ++allowed_count;
            }
        }
    } else {
        allowed = live_;
    }
    std::vector<std::vector<std::uint32_t>> found(request.queries.size());
    enough = true;
    if (allowed_count > 0) {
        const Status status = candidates(request, wanted, allowed, allowed_count, found);
        if (status.code() == Code::unsupported) {
            enough = false;
            return Status::ok();
        }
        VSS_TRY(status);
    }
    for (const std::vector<std::uint32_t>& numbers : found) {
        enough = enough && numbers.size() >= std::min(request.k, allowed_count);
    }
    if (!enough) {
        return Status::ok();
    }
    costs_.exact = false;
    costs_.width = wanted.width.own;
    costs_.candidates = found.empty() ? 0 : found.back().size();
    std::vector<Nearest> nearest;
    nearest.reserve(request.queries.size());
    for (const std::byte* query : request.queries) {
        nearest.emplace_back(column.type, column.metric, column.dim, query, request.k, request.filter);
    }
    VSS_TRY(measure_candidates(request, found, nearest));
    VSS_TRY(measure_others(request, nearest));
    answer.is_exact = false;
    const auto share = [&] {
        switch (image_->engine->knob()) {
            case FaissKnob::probes:
                return std::min(1.0,
                                static_cast<double>(wanted.width.own) / static_cast<double>(image_->engine->widest()));
            case FaissKnob::reach:
                return std::min(1.0, static_cast<double>(std::max(costs_.candidates, wanted.width.own)) /
                                         static_cast<double>(image_->slots.size()));
            case FaissKnob::none: break;
        }
        return 1.0;
    };
    answer.looked_at = share();
    answer.neighbors.clear();
    for (Nearest& at : nearest) {
        answer.neighbors.push_back(at.finish());
    }
    return Status::ok();
}

// Code::unsupported: a query cannot be asked of Faiss.
Status FaissIndex::candidates(const SearchRequest& request, const Wanted& wanted,
                              const std::vector<std::uint64_t>& allowed, std::size_t allowed_count,
                              std::vector<std::vector<std::uint32_t>>& out) {
    const FaissEngine& engine = *image_->engine;
    const std::size_t rows = image_->slots.size();
    // k is learned for ten; fewer neighbours deserve as many candidates.
    std::size_t count = std::max<std::size_t>(request.k, FaissLearned::ks[0]) * wanted.factor;
    if (!engine.selects() && allowed_count < rows) {
        count = static_cast<std::size_t>(static_cast<double>(count) * static_cast<double>(rows) /
                                         static_cast<double>(allowed_count)) +
                1;
    }
    count = std::min({count, rows, std::max(most_candidates, request.k)});
    const std::vector<std::uint64_t>* bits = allowed_count < rows ? &allowed : nullptr;
    const std::size_t queries = request.queries.size();
    std::vector<Status> states(queries);
    const auto ask = [&](std::size_t first, std::size_t last) {
        std::vector<float> query(store_.column().dim);
        for (std::size_t i = first; i < last; ++i) {
            if (!to_floats(request.queries[i], query.data())) {
                states[i] = {Code::unsupported, "the query is too long or too short"};
                continue;
            }
            states[i] = engine.search(query.data(), count, wanted.width, bits, out[i]);
            if (bits != nullptr) {
                std::erase_if(out[i],
                              [&](std::uint32_t number) { return (allowed[number / 64] >> (number % 64) & 1) == 0; });
            }
        }
    };
    // In turns, so that an interruption is heard.
    constexpr std::size_t turn = 256;
    for (std::size_t first = 0; first < queries; first += turn) {
        VSS_TRY(store_.check_interrupt());
        const std::size_t last = std::min(queries, first + turn);
        if (!parallel_for(last - first, request.threads,
                          [&](std::size_t a, std::size_t b) { ask(first + a, first + b); })) {
            return {Code::no_memory, "out of memory"};
        }
    }
    for (const Status& status : states) {
        VSS_TRY(status);
    }
    return Status::ok();
}

Status FaissIndex::measure_candidates(const SearchRequest& request, std::vector<std::vector<std::uint32_t>>& found,
                                      std::vector<Nearest>& nearest) {
    const std::uint64_t per = store_.geometry().segment_slots;
    // Where decoded rows find room in the process's memory they are worth it; else rows are read one by one.
    const bool keeps = rows_ * (store_.geometry().vector_bytes + 12) * 2 <= Cache::instance().budget();
    std::shared_ptr<const Segment> segment;
    std::vector<std::uint32_t> slots;
    for (std::size_t q = 0; q < found.size(); ++q) {
        std::sort(found[q].begin(), found[q].end());
        costs_.measured = found[q].size();
        if (!keeps) {
            slots.clear();
            for (const std::uint32_t number : found[q]) {
                slots.push_back(image_->slots[number]);
            }
            VSS_TRY(
                store_.read_slots(slots, [&](std::size_t /*i*/, std::int64_t rowid, std::span<const std::byte> row) {
                    if (request.filter.passes(rowid)) {
                        nearest[q].add_exact(rowid, row.data());
                    }
                }));
            continue;
        }
        std::uint64_t open = std::numeric_limits<std::uint64_t>::max();
        for (const std::uint32_t number : found[q]) {
            const std::uint32_t slot = image_->slots[number];
            if (slot / per != open) {
                open = slot / per;
                const auto info = std::lower_bound(segments_.begin(), segments_.end(), open,
                                                   [](const SegmentInfo& at, std::uint64_t id) { return at.id < id; });
                if (info == segments_.end() || info->id != open) {
                    return {Code::internal, "a segment of a live row is not there"};
                }
                VSS_TRY(store_.segment(*info, segment));
            }
            const auto at = std::lower_bound(segment->slots.begin(), segment->slots.end(), slot);
            if (at == segment->slots.end() || *at != slot) {
                continue;
            }
            const auto i = static_cast<std::size_t>(at - segment->slots.begin());
            if (request.filter.passes(segment->rowids[i])) {
                nearest[q].add_exact(segment->rowids[i], segment->row(i));
            }
        }
    }
    return Status::ok();
}

// Rows that the image does not know.
Status FaissIndex::measure_others(const SearchRequest& request, std::vector<Nearest>& nearest) {
    const Column& column = store_.column();
    const DistanceKernels kernels = scan_kernels(column.type, column.metric);
    std::vector<float> distances;
    for (const SegmentInfo& info : segments_) {
        const auto at = differences_.find(info.id);
        if (at == differences_.end() || (!at->second.is_scanned && at->second.fresh.empty())) {
            continue;
        }
        VSS_TRY(store_.check_interrupt());
        std::shared_ptr<const Segment> segment;
        VSS_TRY(store_.segment(info, segment));
        costs_.measured += at->second.is_scanned ? segment->size() : at->second.fresh.size();
        for (std::size_t q = 0; q < nearest.size(); ++q) {
            if (at->second.is_scanned) {
                distances.resize(segment->size());
                kernels.one(request.queries[q], segment->rows.data(), segment->stride, segment->size(), column.dim,
                            distances.data());
                nearest[q].add(*segment, distances.data());
                continue;
            }
            for (const std::uint32_t i : at->second.fresh) {
                if (request.filter.passes(segment->rowids[i])) {
                    nearest[q].add_exact(segment->rowids[i], segment->row(i));
                }
            }
        }
    }
    return Status::ok();
}

void FaissIndex::explain(Json& json) {
    if (costs_.exact) {
        json.add_text("plan", "exact: every vector is measured");
        return;
    }
    json.add_text("plan", "faiss: candidates, then rows it does not know");
    const FaissKnob knob = image_->engine->knob();
    if (knob != FaissKnob::none) {
        json.add(knob == FaissKnob::probes ? probes_name : reach_name, std::max(costs_.width, std::size_t{1}));
    }
    json.add("candidates", costs_.candidates).add("measured", costs_.measured);
}

Status FaissIndex::is_exact(bool& out) {
    VSS_TRY(refresh());
    out = image_ == nullptr;
    return Status::ok();
}

// --- what it keeps ---------------------------------------------------------------------------------------------------

Status FaissIndex::check(const Report& report) {
    FaissHeader header;
    VSS_TRY(tables_.read_header(header));
    if (!header.has_image()) {
        return Status::ok();
    }
    // From the tables, whatever the process has of it.
    std::shared_ptr<const FaissImage> anew;
    Status status = tables_.read_image_anew(header, anew);
    if (status.code() == Code::corrupt) {
        report(status.message().substr(status.message().starts_with(words_) ? words_.size() + 2 : 0));
        return Status::ok();
    }
    return status;
}

Status FaissIndex::restart(const Report& report) {
    VSS_TRY(tables_.clear());
    image_.reset();
    header_ = {};
    damaged_ = 0;
    changes_ = 1;  // flush() rebuilds it where there are enough rows
    report("its Faiss index was removed, to be rebuilt from its rows");
    return Status::ok();
}

Status FaissIndex::parts(std::uint64_t& out) {
    VSS_TRY(refresh());
    out = image_ == nullptr ? 0 : 1;
    return Status::ok();
}

Status FaissIndex::stats(Json& json) {
    VSS_TRY(refresh());
    json.add_text("search", image_ == nullptr ? "exact" : "faiss").add("rows", rows_);
    json.add_text("factory", store_.column().factory).add_text("instructions", FaissEngine::level());
    if (image_ == nullptr) {
        if (header_.has_image() || !damage_.empty()) {
            json.add_text("damage", damage_);
        }
        return Status::ok();
    }
    std::size_t fresh = 0;
    for (const auto& [id, difference] : differences_) {
        fresh += difference.fresh.size();
    }
    json.add("indexed", image_->slots.size()).add("outdated", image_->slots.size() - live_count_).add("newer", fresh);
    json.add("image_bytes", header_.bytes).add("memory_bytes", image_->bytes());
    json.add("trained_from", header_.trained_from).add("learned_from_rows", header_.learned.samples);
    const FaissKnob knob = image_->engine->knob();
    for (std::size_t k = 0; k < FaissLearned::ks.size(); ++k) {
        Json settings;
        for (std::size_t i = 0; i < FaissLearned::levels.size(); ++i) {
            const FaissSetting& setting = header_.learned.settings[k][i];
            Json one;
            if (setting.width == 0) {
                one.add_text("search", "exact");
            } else {
                one.add("candidates", setting.factor);
                if (knob != FaissKnob::none) {
                    one.add(knob == FaissKnob::probes ? probes_name : reach_name, setting.width);
                }
            }
            settings.add_json(cat(FaissLearned::levels[i]), one.text());
        }
        json.add_json(cat("settings_for_recall_at_", FaissLearned::ks[k]), settings.text());
    }
    return Status::ok();
}

Status FaissIndex::export_bytes(std::string& out) {
    VSS_TRY(refresh());
    if (image_ == nullptr) {
        return Status::invalid(cat(words_, ": it has no Faiss index yet; vss_rebuild makes it"));
    }
    std::vector<std::int64_t> rowids(image_->slots.size(), -1);
    VSS_TRY(
        store_.read_slots(image_->slots, [&](std::size_t i, std::int64_t rowid, std::span<const std::byte> /*row*/) {
            if (is_live(static_cast<std::uint32_t>(i))) {
                rowids[i] = rowid;
            }
        }));
    std::vector<std::byte> bytes;
    VSS_TRY(image_->engine->write_with_ids(rowids, bytes));
    out.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Status::ok();
}

}  // namespace vss
