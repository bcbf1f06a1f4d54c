// Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
// World graphs" (2016), algorithms 2 and 5, on Faiss's arrays.
#include "index/faiss/faiss_graph.h"

#include <faiss/IndexFlat.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <functional>

#include "base/prefetch.h"
#include "index/faiss/faiss_smallest.h"

namespace vss {
namespace {

using Id = faiss::HNSW::storage_idx_t;

using Node = FaissRow;

class Bits {
  public:
    explicit Bits(std::size_t n) : words_((n + 63) / 64) {}
    // False: it was set before.
    bool set(Id id) {
        const auto i = static_cast<std::size_t>(id);
        const std::uint64_t bit = std::uint64_t{1} << (i % 64);
        const bool is_new = (words_[i / 64] & bit) == 0;
        words_[i / 64] |= bit;
        return is_new;
    }

  private:
    std::vector<std::uint64_t> words_;
};

class Search {
  public:
    Search(const faiss::IndexHNSW& index, const float* query)
        : graph_(index.hnsw),
          rows_(static_cast<const faiss::IndexFlat*>(index.storage)->get_xb()),
          dim_(static_cast<std::size_t>(index.d)),
          is_l2_(index.metric_type == faiss::METRIC_L2),
          query_(query) {}

    // Down the upper levels to the node nearest to the query.
    [[nodiscard]] Node descend() const {
        Node nearest = measured(graph_.entry_point);
        for (int level = graph_.max_level; level > 0; --level) {
            for (bool moved = true; moved;) {
                moved = false;
                std::size_t at = 0;
                std::size_t end = 0;
                graph_.neighbor_range(nearest.id, level, &at, &end);
                for (; at < end && graph_.neighbors[at] >= 0; ++at) {
                    if (const Node node = measured(graph_.neighbors[at]); node < nearest) {
                        nearest = node;
                        moved = true;
                    }
                }
            }
        }
        return nearest;
    }

    // Calls meet(node) for every node that is measured.
    template <class Meet>
    void spread(Node from, std::size_t reach, const Meet& meet) const {
        Bits seen(graph_.levels.size());
        SmallestRows best(reach);
        std::vector<Node> open{from};
        std::vector<Id> fresh;
        seen.set(from.id);
        best.push(from);
        meet(from);
        while (!open.empty() && best.takes(open.front().distance)) {
            std::pop_heap(open.begin(), open.end(), std::greater<>());
            std::size_t at = 0;
            std::size_t end = 0;
            graph_.neighbor_range(open.back().id, 0, &at, &end);
            open.pop_back();
            fresh.clear();
            for (; at < end && graph_.neighbors[at] >= 0; ++at) {
                if (seen.set(graph_.neighbors[at])) {
                    fresh.push_back(graph_.neighbors[at]);
                }
            }
            for (std::size_t i = 0; i < std::min(fresh.size(), ahead); ++i) {
                fetch(fresh[i]);
            }
            for (std::size_t i = 0; i < fresh.size(); ++i) {
                if (i + ahead < fresh.size()) {
                    fetch(fresh[i + ahead]);
                }
                const Node node = measured(fresh[i]);
                meet(node);
                if (best.takes(node.distance)) {
                    best.push(node);
                    open.push_back(node);
                    std::push_heap(open.begin(), open.end(), std::greater<>());
                }
            }
        }
    }

  private:
    static constexpr std::size_t ahead = 2;  // vectors asked for before they are measured

    [[nodiscard]] const float* row(Id id) const { return rows_ + static_cast<std::size_t>(id) * dim_; }
    void fetch(Id id) const { prefetch(row(id), dim_ * sizeof(float)); }
    [[nodiscard]] Node measured(Id id) const {
        return {is_l2_ ? faiss::fvec_L2sqr(query_, row(id), dim_) : -faiss::fvec_inner_product(query_, row(id), dim_),
                id};
    }

    const faiss::HNSW& graph_;
    const float* rows_;
    std::size_t dim_;
    bool is_l2_;
    const float* query_;
};

}  // namespace

bool is_flat_graph(const faiss::IndexHNSW& index) {
    return dynamic_cast<const faiss::IndexFlat*>(index.storage) != nullptr &&
           (index.metric_type == faiss::METRIC_L2 || index.metric_type == faiss::METRIC_INNER_PRODUCT);
}

void search_flat_graph(const faiss::IndexHNSW& index, const float* query, std::size_t k, std::size_t reach,
                       const std::vector<std::uint64_t>* allowed, std::vector<std::uint32_t>& out) {
    out.clear();
    if (index.hnsw.entry_point < 0 || k == 0) {
        return;
    }
    const Search search(index, query);
    SmallestRows found(k);
    search.spread(search.descend(), std::max(reach, k), [&](Node node) {
        const auto i = static_cast<std::size_t>(node.id);
        if (found.takes(node.distance) && is_allowed(allowed, i)) {
            found.push(node);
        }
    });
    found.take(out);
}

}  // namespace vss
