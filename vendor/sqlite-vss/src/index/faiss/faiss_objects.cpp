#include "index/faiss/faiss_objects.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/VectorTransform.h>
#include <faiss/invlists/BlockInvertedLists.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <typeinfo>
#include <vector>

#include "base/text.h"

namespace vss {
namespace {

constexpr int deepest = 6;
// Of a fast scan: rows that it looks at together.
constexpr std::size_t scan_block = 32;
constexpr int most_reach = 1 << 16;

template <class Type, class Base>
const Type* exactly(const Base& object) {
    return typeid(object) == typeid(Type) ? static_cast<const Type*>(&object) : nullptr;
}

Status wrong(std::string_view what) {
    return Status::corrupt(cat("its Faiss index cannot be: ", what));
}

// Walks over an index; `strict`: and over what it holds.
class Check {
  public:
    explicit Check(bool strict) : strict_(strict) {}

    Status index(const faiss::Index* index, std::size_t dim, std::size_t rows, bool any_metric,
                 faiss::MetricType metric, int depth);

  private:
    [[nodiscard]] static bool is_sound(const faiss::ProductQuantizer& pq, std::size_t dim) {
        return pq.d == dim && pq.M > 0 && pq.nbits > 0 && pq.nbits <= 12 && pq.dsub * pq.M == dim &&
               pq.ksub == std::size_t{1} << pq.nbits && pq.code_size == (pq.M * pq.nbits + 7) / 8 &&
               pq.centroids.size() == dim * pq.ksub;
    }
    [[nodiscard]] static bool is_sound(const faiss::ScalarQuantizer& sq, std::size_t dim);
    Status flat_codes(const faiss::IndexFlatCodes& index, std::size_t code_size) const;
    Status ivf(const faiss::IndexIVF& index, std::size_t code_size, int depth);
    Status graph(const faiss::IndexHNSW& index, int depth);
    Status chain(const faiss::IndexPreTransform& index, int depth);
    [[nodiscard]] static Status transform(const faiss::VectorTransform& transform, bool strict);

    bool strict_;
};

bool Check::is_sound(const faiss::ScalarQuantizer& sq, std::size_t dim) {
    using Quantizer = faiss::ScalarQuantizer;
    std::size_t trained = 0;
    switch (sq.qtype) {
        case Quantizer::QT_8bit:
        case Quantizer::QT_4bit:
        case Quantizer::QT_6bit: trained = 2 * dim; break;
        case Quantizer::QT_8bit_uniform:
        case Quantizer::QT_4bit_uniform: trained = 2; break;
        case Quantizer::QT_fp16:
        case Quantizer::QT_8bit_direct: break;
        default: return false;
    }
    return sq.d == dim && sq.trained.size() >= trained && sq.code_size > 0;
}

Status Check::flat_codes(const faiss::IndexFlatCodes& index, std::size_t code_size) const {
    if (strict_ &&
        (index.code_size != code_size || index.codes.size() != static_cast<std::size_t>(index.ntotal) * code_size)) {
        return wrong("codes of another size");
    }
    return Status::ok();
}

Status Check::ivf(const faiss::IndexIVF& ivf, std::size_t code_size, int depth) {
    if (ivf.quantizer == nullptr || (dynamic_cast<const faiss::IndexFlat*>(ivf.quantizer) == nullptr &&
                                     exactly<faiss::IndexHNSWFlat>(*ivf.quantizer) == nullptr)) {
        return {Code::unsupported, "centroids in an index of a type that is not kept there"};
    }
    VSS_TRY(index(ivf.quantizer, static_cast<std::size_t>(ivf.d), ivf.nlist, true, ivf.metric_type, depth + 1));
    if (!strict_) {
        return Status::ok();
    }
    if (ivf.invlists == nullptr || ivf.invlists->nlist != ivf.nlist || ivf.nlist == 0 || ivf.code_size != code_size ||
        ivf.direct_map.type != faiss::DirectMap::NoMap) {
        return wrong("lists of another number or size");
    }
    const auto rows = static_cast<std::size_t>(ivf.ntotal);
    std::vector<bool> seen(rows);
    std::size_t count = 0;
    const auto take = [&](const std::vector<faiss::Index::idx_t>& ids) {
        for (const faiss::Index::idx_t id : ids) {
            if (id < 0 || static_cast<std::size_t>(id) >= rows || seen[static_cast<std::size_t>(id)]) {
                return false;
            }
            seen[static_cast<std::size_t>(id)] = true;
        }
        count += ids.size();
        return true;
    };
    if (const auto* fast = dynamic_cast<const faiss::IndexIVFFastScan*>(&ivf); fast != nullptr) {
        const auto* lists = exactly<faiss::BlockInvertedLists>(*ivf.invlists);
        if (lists == nullptr || lists->n_per_block != scan_block || lists->block_size != scan_block * fast->M2 / 2 ||
            lists->ids.size() != ivf.nlist || lists->codes.size() != ivf.nlist) {
            return wrong("blocks of another size");
        }
        for (std::size_t i = 0; i < ivf.nlist; ++i) {
            const std::size_t blocks = (lists->ids[i].size() + scan_block - 1) / scan_block;
            if (!take(lists->ids[i]) || lists->codes[i].size() != blocks * lists->block_size) {
                return wrong(cat("list ", i));
            }
        }
    } else {
        const auto* lists = exactly<faiss::ArrayInvertedLists>(*ivf.invlists);
        if (lists == nullptr || lists->code_size != code_size || lists->ids.size() != ivf.nlist ||
            lists->codes.size() != ivf.nlist) {
            return wrong("lists of another kind");
        }
        for (std::size_t i = 0; i < ivf.nlist; ++i) {
            if (!take(lists->ids[i]) || lists->codes[i].size() != lists->ids[i].size() * code_size) {
                return wrong(cat("list ", i));
            }
        }
    }
    return count == rows ? Status::ok() : wrong(cat("lists hold ", count, " of ", rows, " rows"));
}

Status Check::graph(const faiss::IndexHNSW& at, int depth) {
    VSS_TRY(index(at.storage, static_cast<std::size_t>(at.d), static_cast<std::size_t>(at.ntotal), false,
                  at.metric_type, depth + 1));
    if (!strict_) {
        return Status::ok();
    }
    const faiss::HNSW& hnsw = at.hnsw;
    const auto rows = static_cast<std::size_t>(at.ntotal);
    const std::vector<int>& sums = hnsw.cum_nneighbor_per_level;
    if (hnsw.levels.size() != rows || hnsw.offsets.size() != rows + 1 || sums.size() < 2 || sums.size() > 64 ||
        sums.front() != 0 || !std::is_sorted(sums.begin(), sums.end()) || sums.back() > (1 << 20)) {
        return wrong("a graph of another size");
    }
    // A search makes room for as many.
    if (hnsw.efSearch < 1 || hnsw.efSearch > most_reach || hnsw.upper_beam != 1) {
        return wrong("how far its graph is searched");
    }
    std::size_t end = 0;
    int top = -1;
    for (std::size_t i = 0; i < rows; ++i) {
        const int levels = hnsw.levels[i];
        if (levels < 1 || static_cast<std::size_t>(levels) >= sums.size() || hnsw.offsets[i] != end) {
            return wrong(cat("levels of node ", i));
        }
        end += static_cast<std::size_t>(sums[static_cast<std::size_t>(levels)]);
        top = std::max(top, levels - 1);
    }
    if (hnsw.offsets[rows] != end || hnsw.neighbors.size() != end || hnsw.max_level != top ||
        (rows == 0 ? hnsw.entry_point != -1
                   : hnsw.entry_point < 0 || static_cast<std::size_t>(hnsw.entry_point) >= rows ||
                         hnsw.levels[static_cast<std::size_t>(hnsw.entry_point)] != top + 1)) {
        return wrong("where its graph begins");
    }
    for (std::size_t i = 0; i < rows; ++i) {
        for (int level = 0; level < hnsw.levels[i]; ++level) {
            const std::size_t begin = hnsw.offsets[i] + static_cast<std::size_t>(sums[static_cast<std::size_t>(level)]);
            const std::size_t stop =
                hnsw.offsets[i] + static_cast<std::size_t>(sums[static_cast<std::size_t>(level) + 1]);
            for (std::size_t j = begin; j < stop; ++j) {
                const int neighbor = hnsw.neighbors[j];
                if (neighbor < -1 || (neighbor >= 0 && (static_cast<std::size_t>(neighbor) >= rows ||
                                                        hnsw.levels[static_cast<std::size_t>(neighbor)] <= level))) {
                    return wrong(cat("a neighbour of node ", i));
                }
            }
        }
    }
    return Status::ok();
}

Status Check::transform(const faiss::VectorTransform& at, bool strict) {
    const auto in = static_cast<std::size_t>(at.d_in);
    const auto out = static_cast<std::size_t>(at.d_out);
    bool is_sound = false;
    if (exactly<faiss::RandomRotationMatrix>(at) != nullptr || exactly<faiss::LinearTransform>(at) != nullptr ||
        exactly<faiss::PCAMatrix>(at) != nullptr || exactly<faiss::OPQMatrix>(at) != nullptr) {
        const auto& linear = static_cast<const faiss::LinearTransform&>(at);
        is_sound = linear.A.size() == in * out && (!linear.have_bias || linear.b.size() == out);
    } else if (exactly<faiss::NormalizationTransform>(at) != nullptr) {
        is_sound = in == out;
    } else if (const auto* centering = exactly<faiss::CenteringTransform>(at); centering != nullptr) {
        is_sound = in == out && centering->mean.size() == in;
    } else if (const auto* remap = exactly<faiss::RemapDimensionsTransform>(at); remap != nullptr) {
        is_sound = remap->map.size() == out && std::all_of(remap->map.begin(), remap->map.end(),
                                                           [&](int d) { return d >= -1 && d < static_cast<int>(in); });
    } else {
        return {Code::unsupported, "a transform that is not kept"};
    }
    return !strict || (is_sound && at.is_trained) ? Status::ok() : wrong("a transform of another size");
}

Status Check::chain(const faiss::IndexPreTransform& at, int depth) {
    int dim = at.d;
    for (const faiss::VectorTransform* step : at.chain) {
        if (step == nullptr || step->d_in != dim) {
            return wrong("a transform of another size");
        }
        VSS_TRY(transform(*step, strict_));
        dim = step->d_out;
    }
    return index(at.index, static_cast<std::size_t>(dim), static_cast<std::size_t>(at.ntotal), false, at.metric_type,
                 depth + 1);
}

Status Check::index(const faiss::Index* at, std::size_t dim, std::size_t rows, bool any_metric,
                    faiss::MetricType metric, int depth) {
    if (at == nullptr || depth > deepest) {
        return wrong("indexes within indexes");
    }
    if (strict_ && (static_cast<std::size_t>(at->d) != dim || static_cast<std::size_t>(at->ntotal) != rows ||
                    !at->is_trained || (any_metric ? at->metric_type > 1 : at->metric_type != metric))) {
        return wrong(cat(at->ntotal, " rows of ", at->d, " dimensions under metric ", static_cast<int>(at->metric_type),
                         ", expected ", rows, " of ", dim));
    }
    const auto d = static_cast<std::size_t>(at->d);
    if (const auto* flat = dynamic_cast<const faiss::IndexFlat*>(at); flat != nullptr) {
        return exactly<faiss::IndexFlat1D>(*at) != nullptr ? Status(Code::unsupported, "IndexFlat1D is not kept")
                                                           : flat_codes(*flat, d * sizeof(float));
    }
    if (const auto* pq = exactly<faiss::IndexPQ>(*at); pq != nullptr) {
        return strict_ && (!is_sound(pq->pq, d) || pq->search_type != faiss::IndexPQ::ST_PQ)
                   ? wrong("a product quantizer")
                   : flat_codes(*pq, pq->pq.code_size);
    }
    if (const auto* sq = exactly<faiss::IndexScalarQuantizer>(*at); sq != nullptr) {
        return strict_ && !is_sound(sq->sq, d) ? wrong("a scalar quantizer") : flat_codes(*sq, sq->sq.code_size);
    }
    if (const auto* fast = exactly<faiss::IndexPQFastScan>(*at); fast != nullptr) {
        const std::size_t blocks = (static_cast<std::size_t>(at->ntotal) + scan_block - 1) / scan_block;
        return strict_ && (!is_sound(fast->pq, d) || fast->pq.nbits != 4 || fast->bbs != scan_block ||
                           fast->implem != 0 || fast->qbs != 0 || fast->M2 != (fast->pq.M + 1) / 2 * 2 ||
                           fast->ntotal2 != blocks * scan_block || fast->codes.size() != fast->ntotal2 * fast->M2 / 2)
                   ? wrong("a fast scan")
                   : Status::ok();
    }
    if (const auto* ivf_flat = exactly<faiss::IndexIVFFlat>(*at); ivf_flat != nullptr) {
        return ivf(*ivf_flat, d * sizeof(float), depth);
    }
    if (const auto* ivf_sq = exactly<faiss::IndexIVFScalarQuantizer>(*at); ivf_sq != nullptr) {
        return strict_ && !is_sound(ivf_sq->sq, d) ? wrong("a scalar quantizer")
                                                   : ivf(*ivf_sq, ivf_sq->sq.code_size, depth);
    }
    if (const auto* ivf_pq = exactly<faiss::IndexIVFPQ>(*at); ivf_pq != nullptr) {
        return strict_ && (!is_sound(ivf_pq->pq, d) || ivf_pq->polysemous_ht != 0)
                   ? wrong("a product quantizer")
                   : ivf(*ivf_pq, ivf_pq->pq.code_size, depth);
    }
    if (const auto* ivf_fast = exactly<faiss::IndexIVFPQFastScan>(*at); ivf_fast != nullptr) {
        if (strict_ && (!is_sound(ivf_fast->pq, d) || ivf_fast->pq.nbits != 4 || ivf_fast->bbs != scan_block ||
                        ivf_fast->implem != 0 || ivf_fast->qbs2 != 0 || ivf_fast->M2 != (ivf_fast->pq.M + 1) / 2 * 2)) {
            return wrong("a fast scan");
        }
        return ivf(*ivf_fast, ivf_fast->pq.code_size, depth);
    }
    if (exactly<faiss::IndexHNSWFlat>(*at) != nullptr || exactly<faiss::IndexHNSWPQ>(*at) != nullptr ||
        exactly<faiss::IndexHNSWSQ>(*at) != nullptr) {
        return graph(static_cast<const faiss::IndexHNSW&>(*at), depth);
    }
    if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(at); refine != nullptr) {
        VSS_TRY(index(refine->base_index, d, static_cast<std::size_t>(at->ntotal), false, at->metric_type, depth + 1));
        return index(refine->refine_index, d, static_cast<std::size_t>(at->ntotal), false, at->metric_type, depth + 1);
    }
    if (exactly<faiss::IndexIDMap>(*at) != nullptr || exactly<faiss::IndexIDMap2>(*at) != nullptr) {
        const auto& map = static_cast<const faiss::IndexIDMap&>(*at);
        bool in_order = map.id_map.size() == static_cast<std::size_t>(at->ntotal);
        for (std::size_t i = 0; in_order && i < map.id_map.size(); ++i) {
            in_order = map.id_map[i] == static_cast<std::int64_t>(i);
        }
        return strict_ && !in_order
                   ? wrong("ids out of order")
                   : index(map.index, d, static_cast<std::size_t>(at->ntotal), false, at->metric_type, depth + 1);
    }
    if (const auto* pre = exactly<faiss::IndexPreTransform>(*at); pre != nullptr) {
        return chain(*pre, depth);
    }
    return {
        Code::unsupported,
        "an index of a type that is not kept: Flat, IVF, HNSW, PQ, SQ, fast scan, transforms, Refine and IDMap are; "
        "in place of LSH and additive quantizers SQ8 or PQ serve"};
}

}  // namespace

Status check_faiss_types(const faiss::Index& index) {
    return Check(false).index(&index, 0, 0, true, index.metric_type, 0);
}

Status check_faiss_objects(const faiss::Index& index, std::size_t dim, std::size_t rows, faiss::MetricType metric) {
    return Check(true).index(&index, dim, rows, false, metric, 0);
}

}  // namespace vss
