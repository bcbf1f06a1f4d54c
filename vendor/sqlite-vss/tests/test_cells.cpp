// Cells over rows in memory, against brute force: growth, removal, splits, merges, filters, adversarial rows.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "base/random.h"
#include "cell_memory_store.h"
#include "failing_new.h"
#include "failing_threads.h"
#include "kernels/kernels.h"
#include "kernels/rotation.h"

using namespace vss;

namespace {

double uniform(SplitMix& random) {
    return static_cast<double>(random.next() >> 11) * 0x1p-53;
}

double normal(SplitMix& random) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) {
        sum += uniform(random);
    }
    return sum - 6;
}

struct World {
    World(std::size_t dimensions, Metric kind, const CellTuning& tuning)
        : dim(dimensions),
          metric(kind),
          rows(dimensions, kind, 64),
          store(rows, padded_dimensions(dimensions)),
          index(store, dimensions, kind, tuning),
          search(index, rows, ElementType::float32, dimensions, kind) {}

    void add(std::uint32_t slot, const std::vector<float>& vector) {
        rows.put(slot, vector.data());
        REQUIRE(index.add(slot).is_ok());
    }
    void remove(std::uint32_t slot) {
        REQUIRE(index.remove(slot).is_ok());
        rows.erase(slot);
    }
    void flush() {
        REQUIRE(index.flush().is_ok());
        const Status sound = store.check();
        CHECK_MESSAGE(sound.is_ok(), sound.message());
        const Status deep = index.check([](const std::string& sentence) {
            CHECK_MESSAGE(false, sentence);
            return true;
        });
        CHECK_MESSAGE(deep.is_ok(), deep.message());
    }
    [[nodiscard]] std::vector<Neighbor> brute(const std::vector<float>& query, std::size_t k,
                                              const SlotFilter* filter = nullptr) const {
        std::vector<Neighbor> out;
        for (std::uint32_t slot = 0; slot < rows.slots(); ++slot) {
            if (rows.is_live(slot) && (filter == nullptr || filter->passes(slot))) {
                out.push_back({static_cast<float>(
                                   exact_distance(ElementType::float32, metric, query.data(), rows.row(slot), dim)),
                               slot});
            }
        }
        std::sort(out.begin(), out.end());
        out.resize(std::min(out.size(), k));
        return out;
    }
    std::vector<Neighbor> find(const std::vector<float>& query, std::size_t k, double recall,
                               const SlotFilter* filter = nullptr) {
        const CellQuery wanted{reinterpret_cast<const std::byte*>(query.data()), k, recall, filter, nullptr, 0};
        std::vector<Neighbor> out;
        const Status status = recall < 1 ? search.search(wanted, out) : search.search_exact(wanted, out);
        CHECK_MESSAGE(status.is_ok(), status.message());
        return out;
    }

    std::size_t dim;
    Metric metric;
    MemoryRows rows;
    MemoryCells store;
    CellIndex index;
    CellSearch search;
};

std::vector<float> clustered(SplitMix& random, std::size_t dim, std::size_t clusters, double spread = 0.4) {
    SplitMix center(random.below(clusters) + 1000);
    std::vector<float> out(dim);
    for (float& v : out) {
        v = static_cast<float>(normal(center) + spread * normal(random));
    }
    return out;
}

double recall_of(const std::vector<Neighbor>& found, const std::vector<Neighbor>& truth) {
    double hits = 0;
    for (const Neighbor& neighbor : found) {
        hits += neighbor.distance <= truth.back().distance ? 1 : 0;
    }
    return hits / static_cast<double>(truth.size());
}

}  // namespace

TEST_CASE("exact search equals brute force, approximate search reaches its recall") {
    for (const Metric metric : {Metric::l2, Metric::inner_product, Metric::cosine}) {
        for (const std::size_t dim : {1U, 63U, 64U, 100U, 384U}) {
            World world(dim, metric, cell_tuning(200, 16));
            SplitMix random(dim * 10 + static_cast<std::size_t>(metric));
            for (std::uint32_t slot = 0; slot < 1200; ++slot) {
                world.add(slot, clustered(random, dim, 30));
                if (slot % 50 == 0) {
                    world.flush();
                }
            }
            world.flush();
            CHECK(world.index.state().is_celled());
            LearnedRecall learned;
            REQUIRE(world.search.learn(32, learned).is_ok());
            world.index.set_learned(learned);
            world.flush();
            double recall = 0;
            constexpr int queries = 40;
            for (int i = 0; i < queries; ++i) {
                const std::vector<float> query = clustered(random, dim, 30);
                const auto truth = world.brute(query, 10);
                CHECK(world.find(query, 10, 1.0) == truth);
                const auto found = world.find(query, 10, 0.95);
                CHECK(found.size() == 10);
                recall += recall_of(found, truth) / queries;
            }
            CHECK_MESSAGE(recall > 0.85, name_of(metric), " ", dim, " ", recall);
        }
    }
}

TEST_CASE("random additions and removals keep the cells sound and exact search exact") {
    World world(24, Metric::l2, cell_tuning(40, 8));
    SplitMix random(5);
    std::vector<std::uint32_t> live;
    for (int turn = 0; turn < 4000; ++turn) {
        const bool shrinking = turn % 1500 > 900;
        if (live.empty() || random.below(10) < (shrinking ? 2U : 8U)) {
            std::uint32_t slot = 0;
            while (world.rows.is_live(slot)) {
                ++slot;
            }
            world.add(slot, clustered(random, 24, 12));
            live.push_back(slot);
        } else {
            const std::size_t at = random.below(live.size());
            world.remove(live[at]);
            live[at] = live.back();
            live.pop_back();
        }
        if (turn % 7 == 0) {
            REQUIRE(world.index.settle().is_ok());
        }
        if (turn % 61 == 0) {
            world.flush();
            const std::vector<float> query = clustered(random, 24, 12);
            CHECK(world.find(query, 5, 1.0) == world.brute(query, 5));
            CHECK(world.find(query, 5, 0.9).size() == std::min<std::size_t>(5, live.size()));
        }
    }
    while (!live.empty()) {
        world.remove(live.back());
        live.pop_back();
    }
    world.flush();
    CHECK(world.find(std::vector<float>(24, 1.0F), 5, 0.9).empty());
}

TEST_CASE("rows removed by the thousand, their slots used again before anything is written") {
    for (const std::size_t removed : {3U, 700U, 1500U, 1850U, 2000U}) {
        for (const std::size_t added : {0U, 5U, 900U}) {
            World world(24, Metric::l2, cell_tuning(200, 8));
            SplitMix random(removed + added);
            for (std::uint32_t slot = 0; slot < 2000; ++slot) {
                world.add(slot, clustered(random, 24, 40));
            }
            world.flush();
            REQUIRE(world.index.state().is_celled());
            std::vector<std::uint32_t> order(2000);
            std::iota(order.begin(), order.end(), 0);
            for (std::size_t i = 0; i < order.size(); ++i) {
                std::swap(order[i], order[i + random.below(order.size() - i)]);
            }
            const std::vector<float> query = clustered(random, 24, 40);
            for (std::size_t i = 0; i < removed; ++i) {
                world.remove(order[i]);
                if (i == removed / 2) {
                    CHECK(world.find(query, 5, 1.0) == world.brute(query, 5));
                }
            }
            for (std::size_t i = 0; i < std::min(added, removed); ++i) {
                world.add(order[i], clustered(random, 24, 40));
            }
            CHECK(world.find(query, 5, 1.0) == world.brute(query, 5));
            for (std::size_t i = 0; i < std::min(added, removed) / 3; ++i) {
                world.remove(order[i]);
            }
            world.flush();
            CHECK(world.index.state().rows == world.brute(query, 5000).size());
            CHECK(world.find(query, 5, 1.0) == world.brute(query, 5));
            CHECK(world.find(query, 5, 0.9).size() == std::min<std::size_t>(5, world.brute(query, 5).size()));
            if (removed == 2000 && added == 0) {
                CHECK_FALSE(world.index.state().is_celled());
            }
            for (std::uint32_t slot = 2000; slot < 2400; ++slot) {
                world.add(slot, clustered(random, 24, 40));
            }
            world.flush();
            CHECK(world.find(query, 5, 1.0) == world.brute(query, 5));
        }
    }
}

TEST_CASE("discarded changes leave no trace") {
    World world(32, Metric::cosine, cell_tuning(50, 8));
    SplitMix random(6);
    for (std::uint32_t slot = 0; slot < 300; ++slot) {
        world.add(slot, clustered(random, 32, 6));
    }
    world.flush();
    const std::vector<float> query = clustered(random, 32, 6);
    const auto before = world.find(query, 10, 1.0);
    for (std::uint32_t slot = 300; slot < 600; ++slot) {
        world.add(slot, clustered(random, 32, 6));
    }
    REQUIRE(world.index.settle().is_ok());
    world.index.discard();
    for (std::uint32_t slot = 300; slot < 600; ++slot) {
        world.rows.erase(slot);
    }
    CHECK(world.find(query, 10, 1.0) == before);
    world.flush();
    CHECK(world.index.state().rows == 300);
}

TEST_CASE("rows that come a few at a time wait in batches, for readers too, and move on to their cells") {
    CellTuning tuning = cell_tuning(200, 16);
    tuning.tail_rows = 4;
    World world(32, Metric::l2, tuning);
    CellIndex reader(world.store, 32, Metric::l2, tuning);
    CellSearch reading(reader, world.rows, ElementType::float32, 32, Metric::l2);
    SplitMix random(12);
    std::uint32_t slot = 0;
    for (; slot < 300; ++slot) {
        world.add(slot, clustered(random, 32, 12));
    }
    world.flush();
    std::size_t most = 0;
    std::size_t emptied = 0;
    std::uint32_t begin = 0;
    for (; slot < 900; ++slot) {
        world.add(slot, clustered(random, 32, 12));
        if (slot % 7 == 0) {
            world.remove(slot - 2);  // which waits, or is in the tail
        }
        if (slot % 11 == 0 && world.rows.is_live(slot - 280)) {
            world.remove(slot - 280);
        }
        world.flush();
        if (slot % 50 == 0) {
            world.index.discard();  // as at the end of a transaction
        }
        REQUIRE(world.index.load().is_ok());
        std::shared_ptr<const CellDirectory> directory;
        REQUIRE(world.index.directory(directory).is_ok());
        most = std::max(most, directory->batched_entries());
        emptied += world.index.state().batches_begin > begin ? 1U : 0U;
        begin = world.index.state().batches_begin;
        CHECK(world.index.tail().size() < 4);
        if (slot % 5 == 0) {
            // Another connection sees the same, whatever it had read before.
            const std::vector<float> query = clustered(random, 32, 12);
            std::vector<Neighbor> found;
            CellQuery asked;
            asked.vector = reinterpret_cast<const std::byte*>(query.data());
            asked.k = 10;
            asked.recall = 0.9999;
            asked.cells = max_cells;  // every entry is looked at
            REQUIRE(reading.search(asked, found).is_ok());
            CHECK(reading.costs().entries + reader.tail().size() >= reader.state().rows);
            REQUIRE(reader.directory(directory).is_ok());
            std::uint64_t rows = reader.tail().size();
            for (std::uint32_t cell = 0; cell < directory->size(); ++cell) {
                rows += directory->info(cell).primaries;
            }
            CHECK(rows == reader.state().rows);
        }
    }
    CHECK(most > 100);
    CHECK(most <= 2 * 64 * 9 / 8 + 16);
    CHECK(emptied > 3);
    // Clustered again, nothing waits.
    REQUIRE(world.index.rebuild().is_ok());
    world.flush();
    std::shared_ptr<const CellDirectory> directory;
    REQUIRE(world.index.directory(directory).is_ok());
    CHECK(directory->batched_entries() == 0);
}

TEST_CASE("a filter holds k at any selectivity, also against the query") {
    World world(48, Metric::cosine, cell_tuning(200, 16));
    SplitMix random(7);
    for (std::uint32_t slot = 0; slot < 2000; ++slot) {
        world.add(slot, clustered(random, 48, 40));
    }
    world.flush();
    for (const std::size_t matching : {0U, 1U, 5U, 20U, 200U, 1000U, 2000U}) {
        for (int i = 0; i < 10; ++i) {
            const std::vector<float> query = clustered(random, 48, 40);
            SlotFilter random_filter;
            random_filter.limited = true;
            while (random_filter.count < matching) {
                random_filter.allow(static_cast<std::uint32_t>(random.below(2000)));
            }
            // The farthest rows only.
            const auto ranked = world.brute(query, 2000);
            SlotFilter far;
            far.limited = true;
            for (std::size_t r = 2000 - matching; r < 2000; ++r) {
                far.allow(static_cast<std::uint32_t>(ranked[r].rowid));
            }
            for (const SlotFilter* filter : {&random_filter, &far}) {
                const auto truth = world.brute(query, 10, filter);
                const auto found = world.find(query, 10, 0.95, filter);
                CHECK(found.size() == truth.size());
                for (const Neighbor& neighbor : found) {
                    CHECK(filter->passes(static_cast<std::uint32_t>(neighbor.rowid)));
                }
                CHECK(world.find(query, 10, 1.0, filter) == truth);
            }
        }
    }
}

TEST_CASE("many equal rows, tight hubs, zero vectors and a large common offset") {
    SUBCASE("equal rows") {
        World world(16, Metric::l2, cell_tuning(50, 8));
        const std::vector<float> same(16, 0.5F);
        for (std::uint32_t slot = 0; slot < 3000; ++slot) {
            world.add(slot, same);
            if (slot % 500 == 0) {
                world.flush();
            }
        }
        world.flush();
        const auto found = world.find(same, 10, 1.0);
        CHECK(found == world.brute(same, 10));
        CHECK(world.find(same, 10, 0.95).size() == 10);
    }
    SUBCASE("a hub of near duplicates among outliers") {
        World world(32, Metric::cosine, cell_tuning(50, 8));
        SplitMix random(8);
        for (std::uint32_t slot = 0; slot < 2000; ++slot) {
            std::vector<float> v(32);
            for (float& x : v) {
                x = static_cast<float>(slot % 10 == 0 ? normal(random) : 1 + 1e-4 * normal(random));
            }
            world.add(slot, v);
        }
        world.flush();
        const std::vector<float> query(32, 1.0F);
        CHECK(world.find(query, 10, 1.0) == world.brute(query, 10));
        CHECK(world.find(query, 10, 0.9).size() == 10);
    }
    SUBCASE("zero vectors under L2 and inner product") {
        for (const Metric metric : {Metric::l2, Metric::inner_product}) {
            World world(20, metric, cell_tuning(50, 8));
            SplitMix random(9);
            for (std::uint32_t slot = 0; slot < 400; ++slot) {
                world.add(slot, slot % 3 == 0 ? std::vector<float>(20) : clustered(random, 20, 5));
            }
            world.flush();
            const std::vector<float> zero(20);
            CHECK(world.find(zero, 10, 1.0) == world.brute(zero, 10));
            CHECK(world.find(zero, 10, 0.9).size() == 10);
        }
    }
    SUBCASE("a common offset a thousand times the spread") {
        World world(64, Metric::l2, cell_tuning(100, 16));
        SplitMix random(10);
        const auto shifted = [&] {
            std::vector<float> v = clustered(random, 64, 20);
            for (float& x : v) {
                x += 1000;
            }
            return v;
        };
        for (std::uint32_t slot = 0; slot < 1500; ++slot) {
            world.add(slot, shifted());
        }
        world.flush();
        double recall = 0;
        for (int i = 0; i < 20; ++i) {
            const std::vector<float> query = shifted();
            const auto truth = world.brute(query, 10);
            CHECK(world.find(query, 10, 1.0) == truth);
            recall += recall_of(world.find(query, 10, 0.95), truth) / 20;
        }
        CHECK(recall > 0.85);
    }
}

TEST_CASE("the bound of 4-bit codes is never violated") {
    SplitMix random(11);
    for (const Metric metric : {Metric::l2, Metric::inner_product, Metric::cosine}) {
        for (const std::size_t dim : {1U, 63U, 64U, 65U, 96U, 100U, 384U, 1000U, 3072U}) {
            MemoryRows rows(dim, metric, 64);
            for (std::uint32_t slot = 0; slot < 64; ++slot) {
                rows.put(slot, clustered(random, dim, 4).data());
            }
            const CellSpace space(dim, metric, false, 99);
            const std::size_t padded = space.padded();
            std::vector<std::byte> codes(64 * SlotCodes::code_bytes(padded));
            std::vector<float> x(padded);
            for (std::uint32_t slot = 0; slot < 64; ++slot) {
                const bool whole = space.enter(rows.row(slot), x.data());
                SlotCodes::encode(x.data(), whole, padded, codes.data() + slot * SlotCodes::code_bytes(padded));
            }
            std::vector<float> query(space.padded());
            const std::vector<float> raw = clustered(random, dim, 4);
            space.enter(raw.data(), query.data());
            SlotCodes::Query fine;
            fine.prepare(query.data(), padded, space.estimate());
            for (std::size_t i = 0; i < 64; ++i) {
                SlotCodes::Estimated estimate;
                fine.estimates(codes.data() + i * SlotCodes::code_bytes(padded), {&estimate, 1});
                double truth = exact_distance(ElementType::float32, metric, raw.data(),
                                              rows.row(static_cast<std::uint32_t>(i)), dim);
                truth *= metric == Metric::cosine ? 2 : 1;
                CHECK(std::abs(truth - static_cast<double>(estimate.distance)) <= static_cast<double>(estimate.error));
            }
        }
    }
}

TEST_CASE("what the table learns holds for queries from outside, and more recall takes more cells") {
    World world(96, Metric::cosine, cell_tuning(400, 24));
    SplitMix random(23);
    for (std::uint32_t slot = 0; slot < 6000; ++slot) {
        world.add(slot, clustered(random, 96, 300, 1.3));
    }
    world.flush();
    LearnedRecall learned;
    REQUIRE(world.search.learn(320, learned).is_ok());
    world.index.set_learned(learned);
    world.flush();
    std::shared_ptr<const CellDirectory> directory;
    REQUIRE(world.index.directory(directory).is_ok());
    const auto live = static_cast<double>(directory->live());
    std::vector<double> cells;
    for (const double recall : {0.8, 0.95, 0.99}) {
        SplitMix asked(99);
        double found = 0;
        double scanned = 0;
        constexpr int queries = 150;
        for (int i = 0; i < queries; ++i) {
            const std::vector<float> query = clustered(asked, 96, 300, 1.3);
            found += recall_of(world.find(query, 10, recall), world.brute(query, 10)) / queries;
            // Where that is cheaper, every row is looked at.
            scanned += (world.search.took_all() ? live : static_cast<double>(world.search.costs().cells)) / queries;
        }
        CHECK_MESSAGE(found >= recall - 0.02, recall, " ", found, " of ", scanned, " cells");
        CHECK((cells.empty() || scanned > cells.back()));
        cells.push_back(scanned);
    }
    // A cell that brings nothing ends no search too early to find k rows.
    for (const std::size_t k : {1U, 100U, 3000U, 6000U}) {
        CHECK(world.find(clustered(random, 96, 300, 1.3), k, 0.8).size() == k);
    }
}

TEST_CASE("rows of a cell that lie in one direction tell as much of cosines as one row") {
    constexpr std::size_t dim = 384;
    const CellSpace space(dim, Metric::l2, false, 7);
    CodeQuery query;
    query.vector.assign(space.padded(), 1);
    query.prepare(space.padded());
    const auto padded = static_cast<float>(space.padded());
    const float error = sign_tangent * sign_tangent / padded;
    double mean = 0;
    double variance = 0;
    for (const bool alike : {true, false}) {
        MissModel model;
        model.suppose(0, 1 / padded);
        model.begin(space, query, {});
        const float t = alike ? 0.3F : 0;
        const float spread = alike ? 0 : 1 / padded;
        model.sums() = {100, 100 * t, 100 * (t * t + spread + error), 0};
        model.end_cell();
        CHECK(model.seen(mean, variance) == !alike);
    }
    CHECK(variance == doctest::Approx(1 / padded).epsilon(0.01));
}

TEST_CASE("a row far outside its cell is expected where it is") {
    constexpr std::size_t dim = 16;
    World world(dim, Metric::l2, cell_tuning(200, 300));
    SplitMix random(3);
    std::vector<float> row;
    for (std::uint32_t slot = 0; slot < 199; ++slot) {
        world.add(slot, clustered(random, dim, 1));
    }
    // As far from the others as a hundred of their distances.
    row = clustered(random, dim, 1);
    const float nearby = row[0];
    row[0] += 400;
    world.add(199, row);
    world.flush();
    std::shared_ptr<const CellDirectory> directory;
    REQUIRE(world.index.directory(directory).is_ok());
    REQUIRE(directory->live() == 1);
    const CellInfo& info = directory->info(0);
    CHECK(info.farthest > info.radius + 10 * info.spread);
    CHECK(info.farthest == doctest::Approx(400).epsilon(0.3));
    // A query beyond it; nearer to it than to the others by half.
    CodeQuery query;
    row[0] = nearby + 600;
    query.vector.assign(world.index.space().padded(), 0);
    REQUIRE(world.index.space().enter(row.data(), query.vector.data()));
    query.prepare(world.index.space().padded());
    const auto expected = [&](bool known) {
        const std::shared_ptr<CellDirectory> changed = directory->clone();
        changed->changing_info(0).farthest = known ? info.farthest : 0;
        MissModel model;
        model.use(*changed);
        model.suppose(0, 1.0F / dim);
        model.begin(world.index.space(), query, {});
        model.place({0, 0, 0, 600 * 600});
        Expected out;
        out.restart();
        model.expect(300 * 300, out);
        return out.left;
    };
    CHECK(expected(true) > 10 * expected(false));
    CHECK(expected(true) < 1);
}

TEST_CASE("a bulk load writes codes before they take too much memory") {
    CellTuning tuning = cell_tuning(200, 90);
    tuning.most_working_bytes = 64 << 10;
    World world(8, Metric::l2, tuning);
    SplitMix random(77);
    for (std::uint32_t slot = 0; slot < 40'000; ++slot) {
        world.add(slot, clustered(random, 8, 300));
    }
    world.flush();
    const std::uint64_t cells = world.store.codes_written;
    CHECK(cells > 2 * 40'000 / 90);  // most of them twice
    // Not enough to cluster all again: rows go to the cells that are there.
    for (std::uint32_t slot = 40'000; slot < 75'000; ++slot) {
        world.add(slot, clustered(random, 8, 300));
    }
    world.flush();
    CHECK(world.store.codes_written > cells + 2 * 40'000 / 90);
    for (std::uint32_t slot = 0; slot < 75'000; slot += 2) {
        world.remove(slot);
    }
    world.flush();
    for (int i = 0; i < 5; ++i) {
        const std::vector<float> query = clustered(random, 8, 300);
        CHECK(world.find(query, 10, 1.0) == world.brute(query, 10));
    }
}

TEST_CASE("where a scan will end is told from what is expected of the cells that come next") {
    World world(32, Metric::l2, cell_tuning(100, 16));
    SplitMix random(5);
    for (std::uint32_t slot = 0; slot < 3000; ++slot) {
        world.add(slot, clustered(random, 32, 30, 1));
    }
    world.flush();
    std::shared_ptr<const CellDirectory> directory;
    REQUIRE(world.index.directory(directory).is_ok());
    CodeQuery query;
    query.vector.assign(world.index.space().padded(), 0.1F);
    query.prepare(world.index.space().padded());
    MissModel model;
    model.use(*directory);
    model.begin(world.index.space(), query, std::vector<float>(directory->size(), 1));
    // Half as many in each cell as in the one before; powers of two, so that each is a kind of its own.
    Expected expected;
    expected.rows.assign((directory->size() + 7) / 8 * 8, 0);
    std::vector<double> rows;
    float here = 4;
    for (std::uint32_t cell = 0; cell < directory->size() && rows.size() < 12; ++cell) {
        if (directory->info(cell).version != 0) {
            expected.rows[cell] = here;
            expected.left += static_cast<double>(here);
            rows.push_back(directory->info(cell).primaries);
            here /= 2;
        }
    }
    REQUIRE(rows.size() == 12);
    CHECK(model.rows_until(expected, 10, 1) == 0);
    CHECK(model.rows_until(expected, 0, 1) == doctest::Approx(std::accumulate(rows.begin(), rows.end(), 0.0)));
    // After the first two 2 - 2^-9 are left, as many as half of the 3 + 1 cells scanned then.
    CHECK(model.rows_until(expected, (expected.left - 6) / 4, 2) == doctest::Approx(rows[0] + rows[1]));
    CHECK(model.rows_until(expected, (expected.left - 6) / 4, 2) >
          model.rows_until(expected, (expected.left - 6) / 3, 2));
}

namespace {

// A table of 600 rows with cells, that has learned.
std::unique_ptr<World> learned_world(std::size_t dim) {
    auto world = std::make_unique<World>(dim, Metric::l2, cell_tuning(200, 16));
    SplitMix random(11);
    for (std::uint32_t slot = 0; slot < 600; ++slot) {
        world->add(slot, clustered(random, dim, 20));
    }
    world->flush();
    LearnedRecall learned;
    REQUIRE(world->search.learn(32, learned).is_ok());
    world->index.set_learned(learned);
    world->flush();
    return world;
}

}  // namespace

TEST_CASE("a search that ran out of memory leaves nothing that the next one passes over") {
    constexpr std::size_t dim = 24;
    const auto world = learned_world(dim);
    SplitMix random(12);
    const std::vector<float> query = clustered(random, dim, 20);
    const auto* bytes = reinterpret_cast<const std::byte*>(query.data());
    // All cells, and as much of them as a recall of almost 1 needs: what brute force finds.
    const CellQuery all_cells{bytes, 20, 0.9999999, nullptr, nullptr, 1000};
    const CellQuery as_needed{bytes, 20, 0.95, nullptr, nullptr, 0};
    const auto truth = world->brute(query, 20);
    std::vector<Neighbor> found;
    REQUIRE(world->search.search(all_cells, found).is_ok());
    REQUIRE(found == truth);
    for (const CellQuery& wanted : {all_cells, as_needed}) {
        const long failed = fail_each_allocation(
            [&] {
                // What it knows of the table is forgotten, so that all of it allocates.
                Cache::instance().clear();
                std::vector<Neighbor> out;
                CellSearch search(world->index, world->rows, ElementType::float32, dim, Metric::l2);
                return search.search(wanted, out).is_ok();
            },
            [] {});
        CHECK(failed > 20);
        // By a search that has failed at another place each time.
        CellSearch search(world->index, world->rows, ElementType::float32, dim, Metric::l2);
        CHECK(fail_each_allocation(
                  [&] {
                      Cache::instance().clear();
                      std::vector<Neighbor> out;
                      return search.search(wanted, out).is_ok();
                  },
                  [&] {
                      REQUIRE(search.search(all_cells, found).is_ok());
                      CHECK(found == truth);
                  }) > 0);
    }
}

TEST_CASE("learning that ran out of memory leaves no trace in the searches that follow") {
    constexpr std::size_t dim = 24;
    const auto world = learned_world(dim);
    SplitMix random(13);
    const std::vector<float> query = clustered(random, dim, 20);
    const auto truth = world->brute(query, 20);
    // Each allocation of the first searches, then some of the thousands.
    long failed = 0;
    for (long n = 1;; n += n < 300 ? 1 : n / 16) {
        LearnedRecall learned;
        Cache::instance().clear();
        failing_allocation = n;
        bool done = false;
        try {
            done = world->search.learn(32, learned).is_ok();
        } catch (const std::bad_alloc&) {
            ++failed;
        }
        const bool reached = failing_allocation == 0;
        failing_allocation = 0;
        CHECK(world->find(query, 20, 1.0) == truth);
        if (done && !reached) {
            break;
        }
    }
    CHECK(failed > 300);
}

TEST_CASE("a batch is answered on as many threads as start") {
    constexpr std::size_t dim = 24;
    const auto world = learned_world(dim);
    SplitMix random(14);
    std::vector<std::vector<float>> queries;
    std::vector<const std::byte*> vectors;
    for (int i = 0; i < 40; ++i) {
        queries.push_back(clustered(random, dim, 20));
        vectors.push_back(reinterpret_cast<const std::byte*>(queries.back().data()));
    }
    for (const int started : {-1, 0, 1}) {
        threads_that_start = started;
        std::vector<std::vector<Neighbor>> out;
        const CellQuery query{nullptr, 5, 0.9999999, nullptr, nullptr, 1000};
        REQUIRE(world->search
                    .search_many(
                        query, vectors, 4, [] { return Status::ok(); }, {}, out)
                    .is_ok());
        threads_that_start = -1;
        for (std::size_t i = 0; i < queries.size(); ++i) {
            CHECK(out[i] == world->brute(queries[i], 5));
        }
    }
}
