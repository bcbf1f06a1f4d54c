#include "index/faiss/faiss_engine.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "index/faiss/faiss_graph.h"
#include "index/faiss/faiss_objects.h"
#include "index/faiss/faiss_scalar.h"
#include "index/faiss/faiss_smallest.h"
#include "index/faiss/faiss_walk.h"

// The name of the instruction level that this file is compiled for, in whose copy of it everything else is local.
#ifndef VSS_FAISS_LEVEL
#define VSS_FAISS_LEVEL vss_faiss_baseline
#endif

namespace vss {
namespace {

// A factory string is text of the user's, or of a file's: its numbers decide how much memory is taken.
constexpr std::size_t longest_factory = 200;
constexpr std::size_t most_digits = 7;
constexpr int deepest_factory = 4;
// Faiss trains a centroid of 39 to 256 rows.
constexpr std::size_t rows_per_centroid = 39;
constexpr std::size_t most_rows_per_centroid = 64;
constexpr std::size_t least_sample = 4096;
// Of the quantizer that OPQ looks for its rotation with.
constexpr std::size_t rotation_bits = 8;
// Tables of IVFPQ, of all indexes together.
constexpr std::size_t most_table_bytes = std::size_t{256} << 20;

faiss::MetricType metric_of(Metric metric) {
    switch (metric) {
        case Metric::l2: return faiss::METRIC_L2;
        case Metric::l1: return faiss::METRIC_L1;
        default: return faiss::METRIC_INNER_PRODUCT;
    }
}

// Faiss says where in its sources it failed, and then why.
std::string what_it_said(const std::exception& exception) {
    std::string_view text = exception.what();
    if (const std::size_t at = text.find(": Error: "); at != std::string_view::npos) {
        text.remove_prefix(at + 9);
    } else if (const std::size_t file = text.find(".cpp:"); file != std::string_view::npos) {
        const std::size_t colon = text.find(": ", file + 5);
        text.remove_prefix(colon == std::string_view::npos ? 0 : colon + 2);
    }
    return std::string(text);
}

thread_local const FaissEngine::Check* asked = nullptr;
thread_local Status answered;

class AskedByFaiss final : public faiss::InterruptCallback {
  public:
    bool want_interrupt() override {
        if (asked == nullptr || !*asked) {
            return false;
        }
        if (answered.is_ok()) {
            answered = (*asked)();
        }
        return !answered.is_ok();
    }
};

// While it lives, Faiss's loops on this thread ask `check`.
class Asking {
  public:
    explicit Asking(const FaissEngine::Check& check) {
        static std::once_flag once;
        std::call_once(once, [] { faiss::InterruptCallback::instance = std::make_unique<AskedByFaiss>(); });
        asked = &check;
        answered = Status::ok();
    }
    ~Asking() { asked = nullptr; }
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;
};

template <class Body>
Status no_throw(std::string_view doing, Body body) {
    try {
        body();
        return Status::ok();
    } catch (const std::bad_alloc&) {
        return {Code::no_memory, "out of memory"};
    } catch (const std::exception& exception) {
        if (asked != nullptr && !answered.is_ok()) {
            return answered;
        }
        return Status::invalid(cat("Faiss, ", doing, ": ", what_it_said(exception)));
    }
}

class Bits final : public faiss::IDSelector {
  public:
    explicit Bits(const std::vector<std::uint64_t>& bits) : bits_(bits) {}
    bool is_member(idx_t id) const override { return is_allowed(&bits_, static_cast<std::size_t>(id)); }

  private:
    const std::vector<std::uint64_t>& bits_;
};

Status check_text(const std::string& factory) {
    std::size_t digits = 0;
    int depth = 0;
    int deepest = 0;
    for (const char c : factory) {
        const bool digit = c >= '0' && c <= '9';
        digits = digit ? digits + 1 : 0;
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        deepest = std::max(deepest, depth);
        const bool known = digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           std::string_view(",_().+-x").find(c) != std::string_view::npos;
        if (!known || digits > most_digits || depth < 0) {
            return Status::invalid("it is no factory string of Faiss's");
        }
    }
    return factory.empty() || factory.size() > longest_factory || depth != 0 || deepest > deepest_factory
               ? Status::invalid("it is no factory string of Faiss's")
               : Status::ok();
}

// Only so many rows as there are train it; Faiss would complain of few of them on stderr.
void be_quiet(faiss::ClusteringParameters& parameters) {
    parameters.min_points_per_centroid = 1;
    parameters.verbose = false;
}

// What is behind maps and transforms, and beneath what refines: candidates are measured on the rows anyway.
struct Inner {
    const faiss::Index* index = nullptr;
    std::vector<const faiss::IndexPreTransform*> transforms;
};

Inner inner_of(const faiss::Index* index) {
    Inner inner;
    for (;;) {
        if (const auto* map = dynamic_cast<const faiss::IndexIDMap*>(index); map != nullptr) {
            index = map->index;
        } else if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(index); refine != nullptr) {
            index = refine->base_index;
        } else if (const auto* pre = dynamic_cast<const faiss::IndexPreTransform*>(index); pre != nullptr) {
            inner.transforms.push_back(pre);
            index = pre->index;
        } else {
            inner.index = index;
            return inner;
        }
    }
}

bool has_map(const faiss::Index* index) {
    for (;;) {
        if (dynamic_cast<const faiss::IndexIDMap*>(index) != nullptr) {
            return true;
        }
        const auto* pre = dynamic_cast<const faiss::IndexPreTransform*>(index);
        if (pre == nullptr) {
            return false;
        }
        index = pre->index;
    }
}

struct Parts {
    std::unique_ptr<faiss::Index> index;
    std::size_t dim = 0;
    Inner inner;
    const faiss::IndexIVF* ivf = nullptr;
    const faiss::IndexHNSW* hnsw = nullptr;
    faiss::IndexIVFFastScan* fast = nullptr;      // takes the number of probes from the object alone
    faiss::IndexHNSW* centroids_graph = nullptr;  // by which its lists are found
    int centroids_reach = 0;
    bool selects = false;
    // That we search ourselves.
    bool flat_graph = false;
    const faiss::IndexScalarQuantizer* bytes = nullptr;
    std::mutex fast_lock;

    // That training looks for, at most by one of its quantizers.
    [[nodiscard]] std::size_t centroids() const;
    void look() {
        inner = inner_of(index.get());
        ivf = dynamic_cast<const faiss::IndexIVF*>(inner.index);
        hnsw = dynamic_cast<const faiss::IndexHNSW*>(inner.index);
        flat_graph = hnsw != nullptr && is_flat_graph(*hnsw);
        bytes = dynamic_cast<const faiss::IndexScalarQuantizer*>(inner.index);
        bytes = bytes != nullptr && is_of_bytes(*bytes) ? bytes : nullptr;
        fast = const_cast<faiss::IndexIVFFastScan*>(dynamic_cast<const faiss::IndexIVFFastScan*>(inner.index));
        centroids_graph = ivf == nullptr ? nullptr : dynamic_cast<faiss::IndexHNSW*>(ivf->quantizer);
        centroids_reach = centroids_graph == nullptr ? 0 : centroids_graph->hnsw.efSearch;
        const bool flat = dynamic_cast<const faiss::IndexFlat*>(inner.index) != nullptr &&
                          inner.index->metric_type <= faiss::METRIC_L2;
        selects = (ivf != nullptr && fast == nullptr) || hnsw != nullptr || flat ||
                  dynamic_cast<const faiss::IndexScalarQuantizer*>(inner.index) != nullptr;
    }
};

class Engine final : public FaissEngine {
  public:
    static Status make(const std::string& factory, std::size_t dim, Metric metric, std::unique_ptr<FaissEngine>& out);
    static Status read(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                       std::unique_ptr<FaissEngine>& out);

    explicit Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) { parts_->look(); }
    Status write(std::vector<std::byte>& out) const override;
    Status write_with_ids(std::span<const std::int64_t> rowids, std::vector<std::byte>& out) const override;
    [[nodiscard]] bool is_trained() const override { return parts_->index->is_trained; }
    [[nodiscard]] std::size_t size() const override { return static_cast<std::size_t>(parts_->index->ntotal); }
    [[nodiscard]] std::size_t least_to_train() const override { return parts_->centroids() * rows_per_centroid; }
    [[nodiscard]] std::size_t most_to_train() const override {
        return std::max(parts_->centroids() * most_rows_per_centroid, least_sample);
    }
    Status train(std::span<const float> rows, const Check& check) override;
    Status add(std::span<const float> rows, const Check& check) override;
    Status clear() override;
    [[nodiscard]] FaissKnob knob() const override;
    [[nodiscard]] std::size_t widest() const override { return parts_->ivf != nullptr ? parts_->ivf->nlist : 1; }
    [[nodiscard]] bool has_centroid_graph() const override { return parts_->centroids_graph != nullptr; }
    [[nodiscard]] bool selects() const override { return parts_->selects; }
    Status search(const float* query, std::size_t k, FaissWidth width, const std::vector<std::uint64_t>* allowed,
                  std::vector<std::uint32_t>& out) const override;

  private:
    std::unique_ptr<Parts> parts_;
};

Status Engine::make(const std::string& factory, std::size_t dim, Metric metric, std::unique_ptr<FaissEngine>& out) {
    VSS_TRY(check_text(factory));
    auto parts = std::make_unique<Parts>();
    parts->dim = dim;
    VSS_TRY(no_throw("reading the factory string", [&] {
        parts->index.reset(faiss::index_factory(static_cast<int>(dim), factory.c_str(), metric_of(metric)));
    }));
    if (parts->index == nullptr) {
        return Status::invalid("Faiss made nothing of it");
    }
    VSS_TRY(check_faiss_types(*parts->index));
    out = std::make_unique<Engine>(std::move(parts));
    return Status::ok();
}

Status Engine::read(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                    std::unique_ptr<FaissEngine>& out) {
    VSS_TRY(walk_faiss_bytes(bytes));
    faiss::precomputed_table_max_bytes = most_table_bytes;
    auto parts = std::make_unique<Parts>();
    parts->dim = dim;
    struct Reader final : faiss::IOReader {
        std::span<const std::byte> left;
        std::size_t operator()(void* to, std::size_t size, std::size_t count) override {
            if (size == 0 || count == 0) {
                return 0;
            }
            const std::size_t n = std::min(count, left.size() / size);
            if (n > 0) {
                std::memcpy(to, left.data(), n * size);
            }
            left = left.subspan(n * size);
            return n;
        }
    } reader;
    reader.left = bytes;
    const Status status = no_throw("reading its index", [&] { parts->index.reset(faiss::read_index(&reader)); });
    if (!status.is_ok()) {
        return status.code() == Code::no_memory ? status : Status::corrupt(status.message());
    }
    VSS_TRY(check_faiss_objects(*parts->index, dim, rows, metric_of(metric)));
    out = std::make_unique<Engine>(std::move(parts));
    return Status::ok();
}

struct BytesWriter final : faiss::IOWriter {
    explicit BytesWriter(std::vector<std::byte>& to) : bytes(to) {}
    std::vector<std::byte>& bytes;
    std::size_t operator()(const void* from, std::size_t size, std::size_t count) override {
        const auto* first = static_cast<const std::byte*>(from);
        bytes.insert(bytes.end(), first, first + size * count);
        return count;
    }
};

Status Engine::write(std::vector<std::byte>& out) const {
    return no_throw("writing its index", [&] {
        BytesWriter writer(out);
        faiss::write_index(parts_->index.get(), &writer);
    });
}

Status Engine::write_with_ids(std::span<const std::int64_t> rowids, std::vector<std::byte>& out) const {
    return no_throw("writing its index", [&] {
        const auto* index = parts_->index.get();
        if (const auto* map = dynamic_cast<const faiss::IndexIDMap*>(index); map != nullptr) {
            index = map->index;
        }
        faiss::IndexIDMap2 with_ids;
        with_ids.index = const_cast<faiss::Index*>(index);
        with_ids.own_fields = false;
        with_ids.d = index->d;
        with_ids.ntotal = index->ntotal;
        with_ids.is_trained = index->is_trained;
        with_ids.metric_type = index->metric_type;
        with_ids.metric_arg = index->metric_arg;
        with_ids.id_map.assign(rowids.begin(), rowids.end());
        BytesWriter writer(out);
        faiss::write_index(&with_ids, &writer);
    });
}

const faiss::ProductQuantizer* quantizer_of(const faiss::Index* index) {
    if (const auto* pq = dynamic_cast<const faiss::IndexPQ*>(index); pq != nullptr) {
        return &pq->pq;
    }
    if (const auto* ivf = dynamic_cast<const faiss::IndexIVFPQ*>(index); ivf != nullptr) {
        return &ivf->pq;
    }
    if (const auto* fast = dynamic_cast<const faiss::IndexPQFastScan*>(index); fast != nullptr) {
        return &fast->pq;
    }
    const auto* ivf_fast = dynamic_cast<const faiss::IndexIVFPQFastScan*>(index);
    return ivf_fast == nullptr ? nullptr : &ivf_fast->pq;
}

std::size_t centroids_of(const faiss::Index* index) {
    std::size_t most = 0;
    const auto* inner = inner_of(index).index;
    if (const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(inner); ivf != nullptr) {
        most = ivf->nlist;
    }
    const faiss::ProductQuantizer* pq = quantizer_of(inner);
    if (const auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(inner); hnsw != nullptr && hnsw->storage != nullptr) {
        most = std::max(most, centroids_of(hnsw->storage));
    }
    return pq == nullptr ? most : std::max(most, std::size_t{1} << pq->nbits);
}

// Nothing here searches by the Hamming distance of codes ("polysemous"), for which Faiss would sort the centroids of
// each product quantizer by annealing: of PQ96 that takes minutes, and no distance changes by it.
void prepare_training(faiss::Index* index) {
    auto* inner = const_cast<faiss::Index*>(inner_of(index).index);
    if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(inner); ivf != nullptr) {
        be_quiet(ivf->cp);
    }
    if (auto* pq = const_cast<faiss::ProductQuantizer*>(quantizer_of(inner)); pq != nullptr) {
        be_quiet(pq->cp);
    }
    if (auto* pq = dynamic_cast<faiss::IndexPQ*>(inner); pq != nullptr) {
        pq->do_polysemous_training = false;
    }
    if (auto* pq = dynamic_cast<faiss::IndexIVFPQ*>(inner); pq != nullptr) {
        pq->do_polysemous_training = false;
    }
    if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(inner); hnsw != nullptr && hnsw->storage != nullptr) {
        prepare_training(hnsw->storage);
    }
}

// OPQ looks for its rotation with a product quantizer of its own, unless it is lent one: a quiet one, while it trains,
// whose codes are looked for by a flat index, which takes a fifth of the time that Faiss's own way takes.
class LentQuantizers {
  public:
    explicit LentQuantizers(const std::vector<const faiss::IndexPreTransform*>& transforms) {
        for (const faiss::IndexPreTransform* transform : transforms) {
            for (faiss::VectorTransform* step : transform->chain) {
                auto* opq = dynamic_cast<faiss::OPQMatrix*>(step);
                if (opq == nullptr || opq->pq != nullptr || opq->is_trained) {
                    continue;
                }
                quantizers_.push_back(std::make_unique<faiss::ProductQuantizer>(
                    static_cast<std::size_t>(opq->d_out), static_cast<std::size_t>(opq->M), rotation_bits));
                be_quiet(quantizers_.back()->cp);
                flat_.push_back(std::make_unique<faiss::IndexFlatL2>(quantizers_.back()->dsub));
                quantizers_.back()->assign_index = flat_.back().get();
                opq->pq = quantizers_.back().get();
                lent_.push_back(opq);
            }
        }
    }
    ~LentQuantizers() {
        for (faiss::OPQMatrix* opq : lent_) {
            opq->pq = nullptr;
        }
    }
    LentQuantizers(const LentQuantizers&) = delete;
    LentQuantizers& operator=(const LentQuantizers&) = delete;

  private:
    std::vector<std::unique_ptr<faiss::IndexFlatL2>> flat_;
    std::vector<std::unique_ptr<faiss::ProductQuantizer>> quantizers_;
    std::vector<faiss::OPQMatrix*> lent_;
};

std::size_t Parts::centroids() const {
    std::size_t most = centroids_of(index.get());
    for (const faiss::IndexPreTransform* transform : inner.transforms) {
        for (const faiss::VectorTransform* step : transform->chain) {
            if (dynamic_cast<const faiss::OPQMatrix*>(step) != nullptr) {
                most = std::max(most, std::size_t{1} << rotation_bits);
            }
        }
    }
    return most;
}

Status Engine::train(std::span<const float> rows, const Check& check) {
    const Asking asking(check);
    prepare_training(parts_->index.get());
    return no_throw("training", [&] {
        const LentQuantizers lent(parts_->inner.transforms);
        parts_->index->train(static_cast<faiss::Index::idx_t>(rows.size() / parts_->dim), rows.data());
    });
}

Status Engine::add(std::span<const float> rows, const Check& check) {
    const Asking asking(check);
    return no_throw("adding rows", [&] {
        const auto n = static_cast<faiss::Index::idx_t>(rows.size() / parts_->dim);
        if (!has_map(parts_->index.get())) {
            parts_->index->add(n, rows.data());
            return;
        }
        std::vector<faiss::Index::idx_t> ids(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = parts_->index->ntotal + static_cast<faiss::Index::idx_t>(i);
        }
        parts_->index->add_with_ids(n, rows.data(), ids.data());
    });
}

Status Engine::clear() {
    return no_throw("forgetting its rows", [&] { parts_->index->reset(); });
}

FaissKnob Engine::knob() const {
    return parts_->ivf != nullptr ? FaissKnob::probes : parts_->hnsw != nullptr ? FaissKnob::reach : FaissKnob::none;
}

Status Engine::search(const float* query, std::size_t k, FaissWidth width, const std::vector<std::uint64_t>* allowed,
                      std::vector<std::uint32_t>& out) const {
    out.clear();
    k = std::min(k, size());
    if (k == 0) {
        return Status::ok();
    }
    std::vector<float> distances(k);
    std::vector<faiss::Index::idx_t> found(k, -1);
    VSS_TRY(no_throw("searching", [&] {
        std::vector<float> moved(query, query + parts_->dim);
        for (const faiss::IndexPreTransform* transform : parts_->inner.transforms) {
            for (const faiss::VectorTransform* step : transform->chain) {
                std::vector<float> next(static_cast<std::size_t>(step->d_out));
                step->apply_noalloc(1, moved.data(), next.data());
                moved = std::move(next);
            }
        }
        std::optional<Bits> bits;
        if (allowed != nullptr && parts_->selects) {
            bits.emplace(*allowed);
        }
        const faiss::Index& index = *parts_->inner.index;
        const auto n = static_cast<faiss::Index::idx_t>(k);
        if (parts_->fast != nullptr) {
            const std::scoped_lock lock(parts_->fast_lock);
            parts_->fast->nprobe = std::min(width.own, parts_->fast->nlist);
            if (parts_->centroids_graph != nullptr) {
                parts_->centroids_graph->hnsw.efSearch =
                    width.centroids > 0 ? static_cast<int>(width.centroids) : parts_->centroids_reach;
            }
            index.search(1, moved.data(), n, distances.data(), found.data());
        } else if (parts_->ivf != nullptr) {
            faiss::SearchParametersIVF parameters;
            parameters.nprobe = std::min(width.own, parts_->ivf->nlist);
            faiss::SearchParametersHNSW centroids;
            if (parts_->centroids_graph != nullptr && width.centroids > 0) {
                centroids.efSearch = static_cast<int>(width.centroids);
                parameters.quantizer_params = &centroids;
            }
            parameters.sel = bits ? &*bits : nullptr;
            index.search(1, moved.data(), n, distances.data(), found.data(), &parameters);
        } else if (parts_->flat_graph) {
            search_flat_graph(*parts_->hnsw, moved.data(), k, width.own, allowed, out);
        } else if (parts_->hnsw != nullptr) {
            faiss::SearchParametersHNSW parameters;
            parameters.efSearch = static_cast<int>(std::max(width.own, k));
            parameters.sel = bits ? &*bits : nullptr;
            index.search(1, moved.data(), n, distances.data(), found.data(), &parameters);
        } else if (parts_->bytes != nullptr) {
            scan_bytes(*parts_->bytes, moved.data(), k, allowed, out);
        } else if (bits) {
            faiss::SearchParameters parameters;
            parameters.sel = &*bits;
            index.search(1, moved.data(), n, distances.data(), found.data(), &parameters);
        } else {
            index.search(1, moved.data(), n, distances.data(), found.data());
        }
    }));
    const std::size_t rows = size();
    for (const faiss::Index::idx_t id : found) {
        if (id >= 0 && static_cast<std::size_t>(id) < rows) {
            out.push_back(static_cast<std::uint32_t>(id));
        }
    }
    return Status::ok();
}

}  // namespace
}  // namespace vss

extern "C" const vss::FaissLevel VSS_FAISS_LEVEL = {vss::Engine::make, vss::Engine::read};
