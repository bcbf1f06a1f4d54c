// FaissIndex: when its image is made, how, and what it learns of itself.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/defaults.h"
#include "base/random.h"
#include "base/settings.h"
#include "base/text.h"
#include "index/exact_search.h"
#include "index/faiss/faiss_index.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

// Rows from which an image is made by itself, or as many as training asks for; below, every search is exact.
constexpr std::uint64_t first_rows = defaults::first_indexed_rows;
// It is rebuilt when the column has this many times its rows, or only so many are left of it, or so many changes
// were made since. Making it costs as much as a constant number of searches a row, so that it pays for itself.
constexpr double grown = 1.25;
constexpr double shrunk = 0.75;
constexpr double changed = 0.25;
// And trained again when there are twice the rows that it was trained with.
constexpr std::uint64_t grown_to_train = 2;
constexpr std::size_t most_sample_bytes = std::size_t{512} << 20;
constexpr std::size_t rows_per_add = 4096;
// Queries that recall is measured with: half of them rows, half of them halfway between two.
constexpr std::size_t samples = 200;
// Settings that are tried: candidates for each neighbour.
constexpr std::array<std::uint32_t, 8> factors = {1, 2, 4, 8, 16, 32, 64, 128};
// A candidate costs as much as this many rows that Faiss looks at.
constexpr double rows_per_candidate = 20;
// A setting must miss less than is wanted by this part of it: the samples are few.
constexpr double spare = 4;
constexpr std::size_t most_probes_tried = 1024;
constexpr std::size_t most_reach_tried = 800;
// Vectors that a search of a graph measures for each one of its reach.
constexpr double rows_per_reach = 20;
// Stages, as progress names them.
constexpr std::string_view training = "training";
constexpr std::string_view adding = "adding";
constexpr std::string_view measuring = "measuring";

double rows_looked_at(const FaissEngine& engine, std::size_t width, std::size_t rows) {
    switch (engine.knob()) {
        case FaissKnob::probes:
            return static_cast<double>(width) / static_cast<double>(engine.widest()) * static_cast<double>(rows);
        case FaissKnob::reach: return static_cast<double>(width) * rows_per_reach;
        case FaissKnob::none: break;
    }
    return 0;
}

}  // namespace

Status FaissIndex::in_words(const Status& status) const {
    return status.code() == Code::invalid || status.code() == Code::unsupported
               ? Status(status.code(), cat(words_, ", factory \"", store_.column().factory, "\": ", status.message()))
               : status;
}

FaissEngine::Check FaissIndex::checking() const {
    return [this] { return store_.check_interrupt(); };
}

Status FaissIndex::flush() {
    changes_ += changes_before_;
    changes_before_ = 0;
    const std::uint64_t changes = std::exchange(changes_, 0);
    FaissHeader header;
    if (const Status status = tables_.read_header(header); status.code() != Code::corrupt) {
        VSS_TRY(status);
    }
    std::uint64_t rows = 0;
    VSS_TRY(store_.count(rows));
    const auto had = static_cast<double>(header.has_image() ? header.rows : header.tried_at);
    const auto has = static_cast<double>(rows);
    if (header.has_image() ? has <= had * grown && has >= had * shrunk && static_cast<double>(changes) <= had * changed
                           : rows < first_rows || rows < header.tried_at * grown_to_train) {
        changes_before_ = changes;
        return Status::ok();
    }
    if (!header.has_image()) {
        std::unique_ptr<FaissEngine> engine;
        const Column& column = store_.column();
        VSS_TRY(in_words(FaissEngine::make(column.factory, column.dim, column.metric, engine)));
        if (rows < engine->least_to_train()) {
            changes_before_ = changes;
            return Status::ok();
        }
    }
    if (rows == 0) {
        VSS_TRY(tables_.clear());
        return Status::ok();
    }
    Status status = build(!header.has_image() || rows >= header.trained_from * grown_to_train);
    if (status.code() != Code::invalid && status.code() != Code::unsupported) {
        return status;
    }
    // What Faiss refuses to do must not keep rows from being committed. Searches are exact until there are twice the
    // rows, or somebody asks for it, and is told why not.
    VSS_TRY(tables_.clear());
    header = {};
    header.generation = random_version();
    header.tried_at = rows;
    return tables_.write_header(header);
}

// `anew`: trained, too.
Status FaissIndex::build(bool anew) {
    const Column& column = store_.column();
    auto image = std::make_shared<FaissImage>();
    FaissHeader header;
    Progress progress(name_, column.name);
    if (!anew) {
        VSS_TRY(refresh());
        if (image_ != nullptr) {
            // What was trained, by its bytes: the image in memory is others', too.
            std::vector<std::byte> bytes;
            VSS_TRY(image_->engine->write(bytes));
            VSS_TRY(FaissEngine::read(bytes, column.dim, column.metric, image_->slots.size(), image->engine));
            VSS_TRY(in_words(image->engine->clear()));
            header.trained_from = header_.trained_from;
        }
    }
    std::uint64_t rows = 0;
    VSS_TRY(store_.count(rows));
    if (image->engine == nullptr) {
        VSS_TRY(in_words(FaissEngine::make(column.factory, column.dim, column.metric, image->engine)));
        header.trained_from = rows;
        if (!image->engine->is_trained()) {
            VSS_TRY(train_on_sample(*image->engine, progress));
        }
    }
    VSS_TRY(fill(*image, progress));
    image->generation = random_version();
    header.tried_at = rows;
    VSS_TRY(in_words(tables_.write_image(*image, header)));
    image->engine_bytes = static_cast<std::size_t>(header.bytes);
    image_ = image;
    header_ = header;
    damaged_ = 0;
    damage_.clear();
    compared_generation_ = 0;
    VSS_TRY(refresh());
    VSS_TRY(learn(header.learned, progress));
    return tables_.write_header(header);
}

// How long that takes is known to nobody: what is told is that it goes on.
Status FaissIndex::train_on_sample(FaissEngine& engine, Progress& progress) {
    std::uint64_t steps = 0;
    VSS_TRY(progress.tell(training, steps, 0));
    std::vector<float> sample;
    VSS_TRY(read_rows(engine.most_to_train(), sample));
    return in_words(engine.train(sample, [&] {
        VSS_TRY(store_.check_interrupt());
        return progress.tell(training, ++steps, 0);
    }));
}

// Up to `most` rows, spread over the column, as Faiss is to see them.
Status FaissIndex::read_rows(std::size_t most, std::vector<float>& out) {
    const Column& column = store_.column();
    std::vector<SegmentInfo> infos;
    VSS_TRY(store_.segments(infos));
    std::uint64_t left = 0;
    for (const SegmentInfo& info : infos) {
        left += info.live;
    }
    std::uint64_t wanted = std::min<std::uint64_t>({left, most, most_sample_bytes / (column.dim * sizeof(float))});
    SplitMix random(left);
    out.clear();
    out.reserve(static_cast<std::size_t>(wanted) * column.dim);
    for (const SegmentInfo& info : infos) {
        VSS_TRY(store_.check_interrupt());
        std::shared_ptr<const Segment> segment;
        VSS_TRY(store_.segment(info, segment, false));
        for (std::size_t i = 0; i < segment->size() && wanted > 0; ++i, --left) {
            if (random.below(left) >= wanted) {
                continue;
            }
            out.resize(out.size() + column.dim);
            if (!to_floats(segment->row(i), out.data() + out.size() - column.dim)) {
                return in_words(Status::invalid(
                    cat("row ", segment->rowids[i], " is so long or so short that Faiss cannot measure it")));
            }
            --wanted;
        }
    }
    return Status::ok();
}

Status FaissIndex::fill(FaissImage& image, Progress& progress) {
    const Column& column = store_.column();
    std::vector<SegmentInfo> infos;
    VSS_TRY(store_.segments(infos));
    std::uint64_t all = 0;
    for (const SegmentInfo& info : infos) {
        all += info.live;
    }
    std::vector<float> rows;
    const auto add = [&] {
        VSS_TRY(store_.check_interrupt());
        VSS_TRY(progress.tell(adding, image.engine->size(), all));
        VSS_TRY(in_words(image.engine->add(rows, checking())));
        rows.clear();
        return progress.tell(adding, image.engine->size(), all);
    };
    const std::size_t bytes = store_.geometry().vector_bytes;
    for (const SegmentInfo& info : infos) {
        std::shared_ptr<const Segment> segment;
        VSS_TRY(store_.segment(info, segment, false));
        image.versions.emplace(info.id, info.version);
        for (std::size_t i = 0; i < segment->size(); ++i) {
            image.slots.push_back(segment->slots[i]);
            image.crcs.push_back(
                slot_checksum(segment->slots[i], segment->rowids[i], SlotState::live, {segment->row(i), bytes}));
            rows.resize(rows.size() + column.dim);
            if (!to_floats(segment->row(i), rows.data() + rows.size() - column.dim)) {
                return in_words(Status::invalid(
                    cat("row ", segment->rowids[i], " is so long or so short that Faiss cannot measure it")));
            }
            if (rows.size() >= rows_per_add * column.dim) {
                VSS_TRY(add());
            }
        }
    }
    return rows.empty() ? Status::ok() : add();
}

// For each recall the cheapest setting that reaches it, with something to spare, on rows of the column and halfway
// between them, whichever are harder.
Status FaissIndex::learn(FaissLearned& out, Progress& progress) {
    out = {};
    const Column& column = store_.column();
    const FaissEngine& engine = *image_->engine;
    const std::size_t rows = image_->slots.size();
    if (rows < 2 || live_count_ != rows) {
        return Status::ok();
    }
    SplitMix random(rows);
    std::vector<std::uint32_t> slots;
    slots.reserve(samples * 3 / 2);
    for (std::size_t i = 0; i < samples * 3 / 2; ++i) {
        slots.push_back(image_->slots[random.below(rows)]);
    }
    std::vector<std::vector<float>> taken(slots.size(), std::vector<float>(column.dim));
    std::vector<std::int64_t> rowids(slots.size());
    VSS_TRY(store_.read_slots(slots, [&](std::size_t i, std::int64_t rowid, std::span<const std::byte> row) {
        decode_vector(column.type, row.data(), column.dim, taken[i].data());
        rowids[i] = rowid;
    }));
    // The first half are rows, which are not to find themselves; the others lie between two.
    std::vector<std::vector<std::byte>> queries(samples, std::vector<std::byte>(column.bytes()));
    for (std::size_t i = 0; i < samples; ++i) {
        std::vector<float> query = taken[i];
        if (i >= samples / 2) {
            const std::vector<float>& other = taken[i + samples / 2];
            for (std::size_t d = 0; d < column.dim; ++d) {
                query[d] = (query[d] + other[d]) / 2;
            }
            if (column.type == ElementType::int8) {
                std::for_each(query.begin(), query.end(), [](float& x) { x = std::nearbyint(x); });
            }
        }
        VSS_TRY(encode_vector(column.type, query, queries[i].data()));
    }
    SearchRequest request;
    const std::size_t most_k = FaissLearned::ks.back();
    request.k = most_k + 1;
    request.threads = threads();
    request.queries.reserve(queries.size());
    for (const std::vector<std::byte>& query : queries) {
        request.queries.push_back(query.data());
    }
    std::vector<std::vector<Neighbor>> truth;
    VSS_TRY(exact_search(store_, request, truth));
    // Rowids of the image's rows, so that what Faiss finds can be compared.
    std::vector<std::int64_t> names(rows);
    for (const SegmentInfo& info : segments_) {
        std::shared_ptr<const Segment> segment;
        VSS_TRY(store_.segment(info, segment, false));
        const std::size_t first = numbers_in(info.id).first;
        std::copy(segment->rowids.begin(), segment->rowids.end(), names.begin() + static_cast<std::ptrdiff_t>(first));
    }
    std::uint64_t asked_in_all = 0;
    VSS_TRY(progress.tell(measuring, asked_in_all, 0));
    struct Best {
        double cost = std::numeric_limits<double>::infinity();
        FaissSetting setting;
    };
    std::array<std::array<Best, FaissLearned::levels.size()>, FaissLearned::ks.size()> best;
    // Candidates by `some`, of which the largest number is asked for, for k of ks[first] to ks[last - 1].
    const auto try_settings = [&](std::size_t width, std::span<const std::uint32_t> some, std::size_t first,
                                  std::size_t last) -> Status {
        // hits[k][factor][half]
        std::array<std::array<std::array<double, 2>, factors.size()>, FaissLearned::ks.size()> shares = {};
        std::array<std::size_t, 2> asked = {};
        Wanted wanted;
        wanted.width.own = width;
        wanted.factor = some.back();
        SearchRequest one;
        std::vector<std::vector<std::uint32_t>> found(1);
        for (std::size_t i = 0; i < samples; ++i) {
            VSS_TRY(store_.check_interrupt());
            VSS_TRY(progress.tell(measuring, ++asked_in_all, 0));
            const std::size_t half = i < samples / 2 ? 0 : 1;
            one.queries = {request.queries[i]};
            one.k = FaissLearned::ks[last - 1];
            const Status status = candidates(one, wanted, live_, rows, found);
            if (status.code() == Code::unsupported) {
                continue;
            }
            VSS_TRY(status);
            ++asked[half];
            std::unordered_map<std::int64_t, std::size_t> places;
            std::size_t place = 0;
            for (const std::uint32_t number : found[0]) {
                if (half == 1 || names[number] != rowids[i]) {
                    places.emplace(names[number], place++);
                }
            }
            for (std::size_t at = first; at < last; ++at) {
                std::vector<std::size_t> hits;
                std::size_t count = 0;
                for (const Neighbor& neighbor : truth[i]) {
                    if ((half == 1 || neighbor.rowid != rowids[i]) && count < FaissLearned::ks[at]) {
                        ++count;
                        if (const auto hit = places.find(neighbor.rowid); hit != places.end()) {
                            hits.push_back(hit->second);
                        }
                    }
                }
                for (std::size_t f = 0; f < some.size() && count > 0; ++f) {
                    const std::size_t limit = some[f] * std::size_t{FaissLearned::ks[at]};
                    shares[at][f][half] += static_cast<double>(std::count_if(
                                               hits.begin(), hits.end(), [&](std::size_t h) { return h < limit; })) /
                                           static_cast<double>(count);
                }
            }
        }
        for (std::size_t at = first; at < last; ++at) {
            for (std::size_t f = 0; f < some.size(); ++f) {
                double recall = 1;
                for (std::size_t half = 0; half < 2; ++half) {
                    if (asked[half] > 0) {
                        recall = std::min(recall, shares[at][f][half] / static_cast<double>(asked[half]));
                    }
                }
                const double looked = rows_looked_at(engine, width, rows);
                const double cost = looked + rows_per_candidate * some[f] * FaissLearned::ks[at];
                for (std::size_t level = 0; level < FaissLearned::levels.size(); ++level) {
                    const double wanted_recall =
                        FaissLearned::levels[level] + (1 - FaissLearned::levels[level]) / spare;
                    if (recall >= wanted_recall && cost < best[at][level].cost) {
                        best[at][level] = {cost, {static_cast<std::uint32_t>(width), some[f]}};
                    }
                }
            }
        }
        return Status::ok();
    };
    constexpr std::size_t all = FaissLearned::ks.size();
    switch (engine.knob()) {
        case FaissKnob::probes:
            for (std::size_t width = 1;; width = std::min(width * 2, engine.widest())) {
                VSS_TRY(try_settings(width, factors, 0, all));
                if (width == engine.widest() || width >= most_probes_tried) {
                    break;
                }
            }
            break;
        case FaissKnob::reach:
            // A search reaches at least as far as it finds candidates. Where the graph holds the vectors themselves,
            // the nearest few of those are enough; where it holds codes, more of them must be measured.
            for (std::size_t at = 0; at < all; ++at) {
                for (std::size_t i = 0; i < factors.size(); ++i) {
                    if (const std::size_t reach = std::size_t{factors[i]} * FaissLearned::ks[at];
                        reach <= most_reach_tried) {
                        VSS_TRY(try_settings(reach, std::span(factors).first(i + 1), at, at + 1));
                    }
                }
            }
            break;
        case FaissKnob::none: VSS_TRY(try_settings(1, factors, 0, all)); break;
    }
    out.samples = static_cast<std::uint32_t>(samples);
    for (std::size_t at = 0; at < FaissLearned::ks.size(); ++at) {
        for (std::size_t level = 0; level < FaissLearned::levels.size(); ++level) {
            out.settings[at][level] = best[at][level].setting;
        }
    }
    return Status::ok();
}

// --- commands --------------------------------------------------------------------------------------------------------

// What sqlite-vss's users ask for. Where there is no row yet, it happens by itself when there are enough.
Status FaissIndex::train() {
    std::uint64_t rows = 0;
    VSS_TRY(store_.count(rows));
    return rows == 0 ? Status::ok() : rebuild();
}

Status FaissIndex::rebuild() {
    std::uint64_t rows = 0;
    VSS_TRY(store_.count(rows));
    changes_ = 0;
    changes_before_ = 0;
    if (rows == 0) {
        return tables_.clear();
    }
    return build(true);
}

Status FaissIndex::relearn() {
    VSS_TRY(refresh());
    if (image_ == nullptr) {
        return Status::ok();
    }
    if (live_count_ != image_->slots.size()) {
        return build(false);
    }
    FaissHeader header = header_;
    Progress progress(name_, store_.column().name);
    VSS_TRY(learn(header.learned, progress));
    return tables_.write_header(header);
}

// Takes in the rows that the image does not know.
Status FaissIndex::optimize(OptimizeStep& step) {
    step.is_done = true;
    VSS_TRY(refresh());
    if (image_ == nullptr || (differences_.empty() && live_count_ == image_->slots.size())) {
        return Status::ok();
    }
    changes_ = 0;
    changes_before_ = 0;
    return build(false);
}

}  // namespace vss
