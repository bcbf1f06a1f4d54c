// Recall against speed and rows scanned, without SQLite, over vectors of a .npy file (float32, C order).
//
//   trial VECTORS.npy QUERIES.npy [rows] [order] [cell_rows] [split_above] [neighbors]
//
// order: bulk, rows (one by one), sorted (by nearness, one by one), churn (5-fold, one by one), deleted (90 %), each
// also with +optimize behind it; bulk-churn and bulk-deleted are the rows that those two leave, in bulk.
//
// Prints one line for each number of cells that every query scans (asked), and one for each recall whose patience was
// learned (learned): recall at 10 (ties counted as hits), share of entries scanned,
// microseconds a query by stage (wall clock), all of it and queries a second (processor time), one thread.
#include <time.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "cell_memory_store.h"
#include "kernels/kernels.h"
#include "kernels/rotation.h"

namespace {

using namespace vss;

std::vector<float> read_npy(const char* path, std::size_t& rows, std::size_t& dim) {
    std::ifstream file(path, std::ios::binary);
    std::string head(128, '\0');
    file.read(head.data(), 10);
    const std::size_t length = static_cast<unsigned char>(head[8]) | static_cast<unsigned char>(head[9]) << 8;
    std::string words(length, '\0');
    file.read(words.data(), static_cast<std::streamsize>(length));
    const std::size_t at = words.find("(") + 1;
    rows = std::strtoull(words.c_str() + at, nullptr, 10);
    dim = std::strtoull(words.c_str() + words.find(",", at) + 1, nullptr, 10);
    std::vector<float> out(rows * dim);
    file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size() * 4));
    return out;
}

// Processor time of this thread: what other programs do meanwhile counts least in it.
double seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void expect(const Status& status) {
    if (!status.is_ok()) {
        std::fprintf(stderr, "%s\n", status.message().c_str());
        std::exit(1);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "trial VECTORS.npy QUERIES.npy [rows] [order] [cell_rows] [split_above] [neighbors]\n");
        return 2;
    }
    std::size_t n = 0;
    std::size_t dim = 0;
    std::size_t nq = 0;
    const std::vector<float> base = read_npy(argv[1], n, dim);
    const std::vector<float> queries = read_npy(argv[2], nq, dim);
    const std::size_t all = n;
    n = argc > 3 ? std::min<std::size_t>(n, std::strtoull(argv[3], nullptr, 10)) : n;
    std::string order = argc > 4 ? argv[4] : "bulk";
    constexpr std::string_view suffix = "+optimize";
    const bool optimized = order.ends_with(suffix);
    if (optimized) {
        order.resize(order.size() - suffix.size());
    }
    CellTuning tuning;
    tuning.cell_rows = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : tuning.cell_rows;
    tuning.split_above = argc > 6 ? std::strtoull(argv[6], nullptr, 10) : tuning.split_above;
    tuning.neighbors = argc > 7 ? std::strtoull(argv[7], nullptr, 10) : tuning.neighbors;
    // Cells also for the tenth of the rows that "deleted" leaves.
    tuning.first_cells_at = std::min(tuning.first_cells_at, n / 20);
    nq = std::min<std::size_t>(nq, 500);
    Cache::instance().set_budget(std::uint64_t{4} << 30);

    MemoryRows rows(dim, Metric::cosine);
    MemoryCells store(rows, padded_dimensions(dim));
    CellIndex index(store, dim, Metric::cosine, tuning);
    std::vector<std::uint32_t> arrival(n);
    std::iota(arrival.begin(), arrival.end(), 0);
    if (order == "sorted") {
        // By nearness to a few far-apart rows: neighbours arrive together.
        std::vector<std::uint32_t> key(n);
        for (std::size_t i = 0; i < n; ++i) {
            float best = 2;
            for (std::uint32_t pivot = 0; pivot < 200; ++pivot) {
                float distance = 0;
                distance_kernels(ElementType::float32, Metric::inner_product)
                    .one(base.data() + i * dim, reinterpret_cast<const std::byte*>(base.data() + pivot * 97 % n * dim),
                         0, 1, dim, &distance);
                if (distance < best) {
                    best = distance;
                    key[i] = pivot;
                }
            }
        }
        std::stable_sort(arrival.begin(), arrival.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return key[a] < key[b]; });
    }
    // One turn of churn: a random slot, and the row that takes it, one that was not there lately.
    const auto turn_of = [&](SplitMix& random, std::size_t turn) {
        const auto slot = static_cast<std::uint32_t>(random.below(n));
        return std::pair(slot, static_cast<std::uint32_t>((n + turn) % all));
    };
    if (order == "bulk-churn") {
        SplitMix random(7);
        for (std::size_t turn = 0; turn < 5 * n; ++turn) {
            const auto [slot, row] = turn_of(random, turn);
            arrival[slot] = row;
        }
    } else if (order == "bulk-deleted") {
        std::erase_if(arrival, [](std::uint32_t slot) { return slot % 10 != 0; });
    }
    const double start = seconds();
    const bool bulk = order.starts_with("bulk");
    for (std::size_t i = 0; i < arrival.size(); ++i) {
        rows.put(static_cast<std::uint32_t>(i), base.data() + arrival[i] * dim);
        expect(index.add(i));
        if (!bulk) {
            expect(index.settle());
        }
        if (!bulk && i % 4096 == 0) {
            expect(index.flush());
        }
    }
    expect(index.flush());
    std::printf("added %zu rows (%s) in %.2f s, %.1f us a row\n", n, order.c_str(), seconds() - start,
                (seconds() - start) / static_cast<double>(n) * 1e6);
    if (order == "churn" || order == "deleted") {
        const double began = seconds();
        SplitMix random(7);
        if (order == "churn") {
            for (std::size_t turn = 0; turn < 5 * n; ++turn) {
                const auto [slot, row] = turn_of(random, turn);
                expect(index.remove(slot));
                rows.put(slot, base.data() + row * dim);
                expect(index.add(slot));
                expect(index.settle());
                if (turn % 4096 == 0) {
                    expect(index.flush());
                }
            }
        } else {
            for (std::uint32_t slot = 0; slot < n; ++slot) {
                if (slot % 10 != 0) {
                    expect(index.remove(slot));
                    rows.erase(slot);
                    expect(index.settle());
                }
                if (slot % 4096 == 0) {
                    expect(index.flush());
                }
            }
        }
        expect(index.flush());
        std::printf("%s in %.2f s\n", order.c_str(), seconds() - began);
    }
    if (optimized) {
        const double began = seconds();
        for (std::uint64_t next = 0; next != max_cells;) {
            expect(index.optimize_step(next));
            expect(index.flush());
        }
        std::printf("optimized in %.2f s\n", seconds() - began);
    }
    expect(store.check());
    CellSearch search(index, rows, ElementType::float32, dim, Metric::cosine);
    std::shared_ptr<const CellDirectory> directory;
    expect(index.directory(directory));
    std::printf("%zu cells, %zu rows\n", directory->live(), static_cast<std::size_t>(index.state().rows));

    const std::size_t k = 10;
    std::vector<float> kth(nq);
    double exact_us = 0;
    double exact_reranked = 0;
    for (int pass = 0; pass < 2; ++pass) {
        exact_us = exact_reranked = 0;
        for (std::size_t q = 0; q < nq; ++q) {
            CellQuery query{reinterpret_cast<const std::byte*>(queries.data() + q * dim), k, 1.0, nullptr, nullptr, 0};
            std::vector<Neighbor> found;
            const double at = seconds();
            expect(search.search_exact(query, found));
            exact_us += (seconds() - at) * 1e6;
            exact_reranked += static_cast<double>(search.costs().reranked);
            kth[q] = found.back().distance;
        }
    }
    std::printf("exact: %.0f us, %.0f measured\n", exact_us / static_cast<double>(nq),
                exact_reranked / static_cast<double>(nq));
    LearnedRecall learned;
    const double learn_start = seconds();
    expect(search.learn(320, learned));
    std::printf("learned in %.2f s:", seconds() - learn_start);
    for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
        std::printf(" %.3f:%.0f", static_cast<double>(LearnedRecall::levels[i]), static_cast<double>(learned.cells[i]));
    }
    std::printf("\n");
    index.set_learned(learned);
    expect(index.flush());
    const auto run = [&](double recall, std::size_t cells) {
        double hits = 0;
        SearchCosts sum;
        double best = 1e9;
        for (int pass = 0; pass < 3; ++pass) {
            hits = 0;
            sum = {};
            const double begin = seconds();
            for (std::size_t q = 0; q < nq; ++q) {
                CellQuery query{
                    reinterpret_cast<const std::byte*>(queries.data() + q * dim), k, recall, nullptr, nullptr, cells};
                std::vector<Neighbor> found;
                expect(search.search(query, found));
                for (const Neighbor& neighbor : found) {
                    hits += neighbor.distance <= kth[q] ? 1 : 0;
                }
                const SearchCosts& costs = search.costs();
                sum.cells += costs.cells;
                sum.entries += costs.entries;
                sum.rank_us += costs.rank_us;
                sum.scan_us += costs.scan_us;
                sum.refine_us += costs.refine_us;
                sum.rerank_us += costs.rerank_us;
            }
            best = std::min(best, seconds() - begin);
        }
        const auto per = static_cast<double>(nq);
        std::printf(
            "%s %.3f cells %4.0f recall %.4f scanned %5.2f %%  us: rank %5.1f scan %5.1f refine %5.1f rerank %5.1f "
            "all %6.1f  q/s %6.0f\n",
            cells > 0 ? "asked" : "learned", recall, static_cast<double>(sum.cells) / per, hits / per / k,
            static_cast<double>(sum.entries) / per / static_cast<double>(index.state().rows) * 100, sum.rank_us / per,
            sum.scan_us / per, sum.refine_us / per, sum.rerank_us / per, best / per * 1e6, per / best);
    };
    for (const std::size_t cells : {4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384}) {
        if (cells <= directory->live()) {
            run(cells > 100 ? 0.99 : 0.95, cells);
        }
    }
    for (const double recall : {0.8, 0.9, 0.95, 0.98, 0.99}) {
        run(recall, 0);
    }
    return 0;
}
