// CellTables: the last row of t_segments<c>, the state of the cells.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "base/text.h"
#include "index/cells/cell_tables.h"
#include "kernels/kernels.h"

namespace vss {
namespace {

constexpr std::uint32_t state_magic = 0x32435356;        // "VSC2"
constexpr std::uint32_t first_state_magic = 0x31435356;  // "VSC1", of format 1: its header ends before what was learned
constexpr std::uint32_t spherical_flag = 1;
// Another version that knows nothing of it drops it, and then the codes are not believed.
constexpr std::uint32_t slot_codes_flag = 2;
// What was learned is by cell scanned (LearnedRecall::misses). What was learned before says nothing of that.
constexpr std::uint32_t by_cell_flag = 4;
constexpr std::uint32_t removed_shift = 3;    // of CellState::removed_since
constexpr std::uint32_t exponent_shift = 24;  // of a signed byte
static_assert(CellState::most_removed < std::uint32_t{1} << (exponent_shift - removed_shift));

// The state's row beside generation and rows, which are its version and live.
struct StateHeader {
    std::uint32_t magic = state_magic;
    std::uint32_t crc = 0;  // of generation, rows, and all of this with this field zero
    std::uint64_t directory_version = 0;
    std::uint64_t seed = 0;
    std::uint32_t flags = 0;
    std::uint32_t offset_floats = 0;
    std::uint32_t tail_slots = 0;
    std::uint32_t learned_cells_then = 0;
    // Of format 1: what searches of that time had learned.
    std::array<std::uint64_t, ChangedSegments::most> changed_before = {};
    std::array<std::uint32_t, ChangedSegments::most> changed_segment = {};
    // Of k = 1,000, for each of LearnedRecall::levels: how many times as many misses as for k = 100, by logarithm. 0:
    // as many less as they are fewer than for k = 10.
    std::array<std::uint8_t, 8> times_hundred = {};
    std::uint32_t batches_begin = 0;
    std::uint32_t batches_end = 0;
    std::uint64_t parts_version = 0;
};
static_assert(sizeof(StateHeader) == 112);

// Of LearnedRecall::ks, those whose misses are stored as they are: the last one's are in times_hundred.
constexpr std::size_t stored_ks = LearnedRecall::ks.size() - 1;
constexpr double steps_per_double = 16;
constexpr double times_one = 200;

std::uint8_t coded_times(float misses, float of_hundred) {
    if (!(misses > 0 && of_hundred > 0)) {
        return 0;
    }
    const double times = static_cast<double>(misses) / static_cast<double>(of_hundred);
    return static_cast<std::uint8_t>(
        std::clamp(std::floor(times_one + steps_per_double * std::log2(times)), 1.0, 255.0));
}

// Behind it, since format 2.
struct StateLearned {
    std::uint64_t rows = 0;
    std::int64_t when = 0;
    std::uint32_t samples = 0;
    float cosine_mean = 0;
    std::array<std::array<float, LearnedRecall::levels.size()>, stored_ks> misses = {};
    std::array<float, LearnedRecall::levels.size()> cells = {};
    std::array<float, LearnedRecall::levels.size()> scanned = {};
    float cosine_variance = 0;
};
static_assert(sizeof(StateLearned) == 168);

}  // namespace

std::uint32_t CellTables::state_crc(std::uint64_t generation, std::uint64_t rows,
                                    std::span<const std::byte> data) const {
    StateHeader header;
    std::memcpy(&header, data.data(), sizeof header);
    header.crc = 0;
    std::uint32_t crc = tagged_crc(0, &generation, sizeof generation);
    crc = crc32c(crc, &rows, sizeof rows);
    crc = crc32c(crc, &header, sizeof header);
    return crc32c(crc, data.data() + sizeof header, data.size() - sizeof header);
}

Status CellTables::read_state(std::uint64_t known, CellState& state) {
    if (!select_state_.is_prepared()) {
        VSS_TRY(
            name_.prepare(select_state_, cat("select version, live, data from ", name_.shadow(cat("segments", index_)),
                                             " where segment = ", state_segment)));
    }
    const ResetAtEnd guard(select_state_);
    bool row = false;
    VSS_TRY(select_state_.step(row));
    if (!row) {
        state = {};
        return Status::ok();
    }
    const auto generation = static_cast<std::uint64_t>(select_state_.int64(0));
    if (generation == known && known != 0) {
        return Status::ok();
    }
    const auto rows = static_cast<std::uint64_t>(select_state_.int64(1));
    const std::span<const std::byte> data = select_state_.blob(2);
    StateHeader header;
    if (data.size() < sizeof header) {
        return damaged("the state of the cells is too short");
    }
    std::memcpy(&header, data.data(), sizeof header);
    const std::size_t learned_bytes = header.magic == state_magic ? sizeof(StateLearned) : 0;
    const std::size_t expected =
        sizeof header + learned_bytes + (std::size_t{header.offset_floats} + std::size_t{header.tail_slots}) * 4;
    if ((header.magic != state_magic && header.magic != first_state_magic) || data.size() != expected ||
        (header.offset_floats != 0 && header.offset_floats != padded_) || header.tail_slots > rows ||
        header.batches_begin > header.batches_end || state_crc(generation, rows, data) != header.crc) {
        return damaged("the checksum of the cells' state does not match its bytes");
    }
    state.generation = generation;
    state.directory_version = header.directory_version;
    state.seed = header.seed;
    state.rows = rows;
    state.spherical = (header.flags & spherical_flag) != 0;
    state.slot_codes = (header.flags & slot_codes_flag) != 0;
    state.removed_since = header.flags >> removed_shift & CellState::most_removed;
    state.exponent = static_cast<std::int8_t>(header.flags >> exponent_shift);
    state.learned = {};
    state.changed = {};
    if (learned_bytes > 0) {
        state.changed.before = header.changed_before;
        state.changed.segment = header.changed_segment;
    }
    if (learned_bytes > 0 && (header.flags & by_cell_flag) != 0) {
        StateLearned learned;
        std::memcpy(&learned, data.data() + sizeof header, sizeof learned);
        state.learned.cells_then = header.learned_cells_then;
        state.learned.samples = learned.samples;
        state.learned.rows = learned.rows;
        state.learned.when = learned.when;
        std::copy(learned.misses.begin(), learned.misses.end(), state.learned.misses.begin());
        state.learned.go_on_to_last();
        for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
            if (header.times_hundred[i] != 0 && learned.misses.back()[i] > 0) {
                state.learned.misses.back()[i] = static_cast<float>(
                    static_cast<double>(learned.misses.back()[i]) *
                    std::exp2((static_cast<double>(header.times_hundred[i]) - times_one) / steps_per_double));
            }
        }
        state.learned.cosine_mean = learned.cosine_mean;
        state.learned.cosine_variance = learned.cosine_variance;
        state.learned.cells = learned.cells;
        state.learned.scanned = learned.scanned;
        const auto are_finite = [](const auto& of) {
            return std::all_of(of.begin(), of.end(), [](float x) { return std::isfinite(x); });
        };
        if (!std::isfinite(learned.cosine_mean) || !std::isfinite(learned.cosine_variance) ||
            !std::all_of(learned.misses.begin(), learned.misses.end(), are_finite) || !are_finite(learned.cells) ||
            !are_finite(learned.scanned)) {
            return damaged("the state of the cells has learned what cannot be");
        }
    }
    state.batches_begin = header.batches_begin;
    state.batches_end = header.batches_end;
    state.parts_version = header.parts_version;
    state.offset.resize(header.offset_floats);
    state.tail.resize(header.tail_slots);
    const std::byte* at = data.data() + sizeof header + learned_bytes;
    if (!state.offset.empty()) {
        std::memcpy(state.offset.data(), at, state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(state.tail.data(), at + state.offset.size() * 4, state.tail.size() * 4);
    }
    const auto is_place = [](float x) { return std::abs(x) <= largest_offset; };  // and a number
    if (!std::all_of(state.offset.begin(), state.offset.end(), is_place)) {
        return damaged("the state of the cells has an offset that cannot be");
    }
    return Status::ok();
}

Status CellTables::write_state(const CellState& state) {
    StateHeader header;
    header.directory_version = state.directory_version;
    header.seed = state.seed;
    header.flags = by_cell_flag | (state.spherical ? spherical_flag : 0) | (state.slot_codes ? slot_codes_flag : 0) |
                   state.removed_since << removed_shift |
                   static_cast<std::uint32_t>(static_cast<std::uint8_t>(state.exponent)) << exponent_shift;
    header.offset_floats = static_cast<std::uint32_t>(state.offset.size());
    header.tail_slots = static_cast<std::uint32_t>(state.tail.size());
    header.learned_cells_then = state.learned.cells_then;
    header.changed_before = state.changed.before;
    header.changed_segment = state.changed.segment;
    header.batches_begin = state.batches_begin;
    header.batches_end = state.batches_end;
    header.parts_version = state.parts_version;
    for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
        header.times_hundred[i] = coded_times(state.learned.misses.back()[i], state.learned.misses[stored_ks - 1][i]);
    }
    StateLearned learned;
    learned.rows = state.learned.rows;
    learned.when = state.learned.when;
    learned.samples = state.learned.samples;
    std::copy_n(state.learned.misses.begin(), stored_ks, learned.misses.begin());
    learned.cosine_mean = state.learned.cosine_mean;
    learned.cosine_variance = state.learned.cosine_variance;
    learned.cells = state.learned.cells;
    learned.scanned = state.learned.scanned;
    constexpr std::size_t begin = sizeof header + sizeof learned;
    buffer_.resize(begin + (state.offset.size() + state.tail.size()) * 4);
    std::memcpy(buffer_.data(), &header, sizeof header);
    std::memcpy(buffer_.data() + sizeof header, &learned, sizeof learned);
    if (!state.offset.empty()) {
        std::memcpy(buffer_.data() + begin, state.offset.data(), state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(buffer_.data() + begin + state.offset.size() * 4, state.tail.data(), state.tail.size() * 4);
    }
    const std::uint32_t crc = state_crc(state.generation, state.rows, buffer_);
    std::memcpy(buffer_.data() + offsetof(StateHeader, crc), &crc, 4);
    VSS_TRY(prepare(upsert_state_, "insert into ", "segments",
                    "(segment, version, live, data) values(?1, ?2, ?3, ?4) on conflict(segment) do update set "
                    "version = ?2, live = ?3, data = ?4"));
    upsert_state_.bind(1, state_segment);
    upsert_state_.bind(2, static_cast<std::int64_t>(state.generation));
    upsert_state_.bind(3, static_cast<std::int64_t>(state.rows));
    upsert_state_.bind_blob(4, buffer_);
    return upsert_state_.run();
}

}  // namespace vss
