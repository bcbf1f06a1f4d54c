#include "index/faiss/faiss_image.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/text.h"
#include "kernels/kernels.h"

namespace vss {
namespace {

constexpr std::uint32_t header_magic = 0x31465356;  // "VSF1"
constexpr std::uint32_t part_magic = 0x50465356;    // "VSFP"
// A blob, with what stands before its share of the stream.
constexpr std::size_t most_part_bytes = std::size_t{32} << 20;
constexpr std::size_t most_rows = 0x7FFFFFFF;  // Faiss counts neighbours of HNSW in an int

struct StoredHeader {
    std::uint32_t magic = header_magic;
    std::uint32_t crc = 0;  // of the tag, the generation and all of this with this field zero
    std::uint64_t generation = 0;
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    std::uint64_t segments = 0;
    std::uint64_t tried_at = 0;
    std::uint64_t trained_from = 0;
    std::uint32_t stream_crc = 0;
    std::uint32_t factory_crc = 0;
    std::uint32_t samples = 0;
    std::uint32_t unused = 0;
    std::array<std::array<FaissSetting, FaissLearned::levels.size()>, FaissLearned::ks.size()> settings = {};
};
static_assert(sizeof(StoredHeader) == 72 + 112);

struct PartHeader {
    std::uint32_t magic = part_magic;
    std::uint32_t crc = 0;  // of the tag, the generation and the bytes behind this
    std::uint64_t generation = 0;
};
static_assert(sizeof(PartHeader) == 16);
constexpr std::size_t share_bytes = most_part_bytes - sizeof(PartHeader);

struct StoredSegment {
    std::uint64_t id = 0;
    std::uint64_t version = 0;
};

// Images of this process that somebody holds, by file, column and generation.
class Shared {
  public:
    static Shared& instance() {
        static Shared shared;
        return shared;
    }
    std::shared_ptr<const FaissImage> find(std::uint64_t space, std::uint64_t generation) {
        const std::scoped_lock lock(mutex_);
        const auto at = images_.find(space ^ generation);
        return at == images_.end() ? nullptr : at->second.lock();
    }
    void put(std::uint64_t space, const std::shared_ptr<const FaissImage>& image) {
        const std::scoped_lock lock(mutex_);
        std::erase_if(images_, [](const auto& at) { return at.second.expired(); });
        images_[space ^ image->generation] = image;
    }

  private:
    std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::weak_ptr<const FaissImage>> images_;
};

std::span<const std::byte> bytes_of(const void* data, std::size_t n) {
    return {static_cast<const std::byte*>(data), n};
}

}  // namespace

std::size_t FaissImage::find(std::uint32_t slot) const {
    const auto at = std::lower_bound(slots.begin(), slots.end(), slot);
    return at != slots.end() && *at == slot ? static_cast<std::size_t>(at - slots.begin()) : slots.size();
}

std::size_t FaissImage::bytes() const {
    return engine_bytes + slots.size() * 8 + versions.size() * 32;
}

FaissTables::FaissTables(const TableName& name, VectorStore& store, std::size_t index)
    : name_(name), store_(store), index_(index) {}

Status FaissTables::create_tables(const TableName& name, std::size_t index, bool where_missing) {
    return execute(name.db, cat(where_missing ? "create table if not exists " : "create table ",
                                name.shadow(cat("faiss", index)), "(part integer primary key, data blob not null)"));
}

Status FaissTables::damaged(std::string_view what) const {
    return Status::corrupt(cat(name_.words(store_.column()), ": ", what));
}

std::uint32_t FaissTables::factory_crc() const {
    const std::string& factory = store_.column().factory;
    return crc32c(0, factory.data(), factory.size());
}

std::uint32_t FaissTables::tagged_crc(std::uint64_t part, std::uint64_t generation,
                                      std::span<const std::byte> bytes) const {
    const std::uint64_t tag = part + (static_cast<std::uint64_t>(index_) << 56);
    std::uint32_t crc = crc32c(0, &tag, sizeof tag);
    crc = crc32c(crc, &generation, sizeof generation);
    return crc32c(crc, bytes.data(), bytes.size());
}

Status FaissTables::prepare(Statement& statement, std::string_view before, std::string_view after) {
    return statement.is_prepared() ? Status::ok()
                                   : name_.prepare(statement, cat(before, name_.shadow(cat("faiss", index_)), after));
}

Status FaissTables::read_header(FaissHeader& out) {
    out = {};
    VSS_TRY(prepare(select_header_, "select data from ", " where part = 0"));
    const ResetAtEnd guard(select_header_);
    bool row = false;
    VSS_TRY(select_header_.step(row));
    if (!row) {
        return Status::ok();
    }
    const std::span<const std::byte> data = select_header_.blob(0);
    StoredHeader stored;
    if (data.size() != sizeof stored) {
        return damaged(cat("the header of its Faiss index has ", data.size(), " bytes, expected ", sizeof stored));
    }
    std::memcpy(&stored, data.data(), sizeof stored);
    const std::uint32_t crc = stored.crc;
    stored.crc = 0;
    if (stored.magic != header_magic || crc != tagged_crc(0, stored.generation, bytes_of(&stored, sizeof stored)) ||
        stored.generation == 0 || stored.rows > most_rows || stored.segments > stored.rows) {
        return damaged("the checksum of the header of its Faiss index does not match its bytes");
    }
    out.generation = stored.generation;
    out.rows = stored.rows;
    out.bytes = stored.bytes;
    out.segments = stored.segments;
    out.tried_at = stored.tried_at;
    out.trained_from = stored.trained_from;
    out.stream_crc = stored.stream_crc;
    out.factory_crc = stored.factory_crc;
    out.learned.samples = stored.samples;
    out.learned.settings = stored.settings;
    return Status::ok();
}

Status FaissTables::put(std::int64_t part, std::span<const std::byte> bytes) {
    VSS_TRY(prepare(upsert_, "insert into ", "(part, data) values(?1, ?2) on conflict(part) do update set data = ?2"));
    upsert_.bind(1, part);
    upsert_.bind_blob(2, bytes);
    return upsert_.run();
}

Status FaissTables::write_header(const FaissHeader& header) {
    StoredHeader stored;
    stored.generation = header.generation;
    stored.rows = header.rows;
    stored.bytes = header.bytes;
    stored.segments = header.segments;
    stored.tried_at = header.tried_at;
    stored.trained_from = header.trained_from;
    stored.stream_crc = header.stream_crc;
    stored.factory_crc = factory_crc();
    stored.samples = header.learned.samples;
    stored.settings = header.learned.settings;
    stored.crc = tagged_crc(0, stored.generation, bytes_of(&stored, sizeof stored));
    return put(0, bytes_of(&stored, sizeof stored));
}

Status FaissTables::clear() {
    return execute(name_.db, cat("delete from ", name_.shadow(cat("faiss", index_))));
}

void FaissTables::share(const std::shared_ptr<const FaissImage>& image) const {
    Shared::instance().put(store_.space(), image);
}

Status FaissTables::write_image(const FaissImage& image, FaissHeader& header) {
    std::vector<std::byte> stream;
    const auto append = [&](const void* data, std::size_t n) {
        const auto* first = static_cast<const std::byte*>(data);
        stream.insert(stream.end(), first, first + n);
    };
    append(image.slots.data(), image.slots.size() * 4);
    append(image.crcs.data(), image.crcs.size() * 4);
    std::vector<StoredSegment> segments;
    segments.reserve(image.versions.size());
    for (const auto& [id, version] : image.versions) {
        segments.push_back({id, version});
    }
    std::sort(segments.begin(), segments.end(),
              [](const StoredSegment& a, const StoredSegment& b) { return a.id < b.id; });
    append(segments.data(), segments.size() * sizeof(StoredSegment));
    VSS_TRY(image.engine->write(stream));
    header.generation = image.generation;
    header.rows = image.slots.size();
    header.segments = segments.size();
    header.bytes = stream.size();
    header.stream_crc = crc32c(0, stream.data(), stream.size());
    VSS_TRY(clear());
    std::vector<std::byte> blob;
    std::int64_t part = 0;
    for (std::size_t at = 0; at < stream.size(); at += share_bytes) {
        const std::span<const std::byte> share =
            std::span<const std::byte>(stream).subspan(at, std::min(share_bytes, stream.size() - at));
        PartHeader head;
        head.generation = image.generation;
        head.crc = tagged_crc(static_cast<std::uint64_t>(++part), image.generation, share);
        blob.resize(sizeof head + share.size());
        std::memcpy(blob.data(), &head, sizeof head);
        std::copy(share.begin(), share.end(), blob.begin() + sizeof head);
        VSS_TRY(put(part, blob));
        VSS_TRY(store_.check_interrupt());
    }
    return write_header(header);
}

Status FaissTables::read_image(const FaissHeader& header, std::shared_ptr<const FaissImage>& out) {
    out = Shared::instance().find(store_.space(), header.generation);
    if (out != nullptr && out->generation == header.generation && out->slots.size() == header.rows) {
        return Status::ok();
    }
    VSS_TRY(read_image_anew(header, out));
    share(out);
    return Status::ok();
}

Status FaissTables::read_image_anew(const FaissHeader& header, std::shared_ptr<const FaissImage>& out) {
    out.reset();
    if (header.factory_crc != factory_crc()) {
        return damaged("its Faiss index was made by another factory");
    }
    Statement statement;
    VSS_TRY(prepare(statement, "select part, data from ", " where part > 0 order by part"));
    const ResetAtEnd guard(statement);
    // Grows as bytes come: a header alone makes no room.
    std::vector<std::byte> stream;
    for (std::int64_t part = 1; stream.size() < header.bytes; ++part) {
        bool row = false;
        VSS_TRY(statement.step(row));
        const std::span<const std::byte> data = row ? statement.blob(1) : std::span<const std::byte>();
        PartHeader head;
        if (!row || statement.int64(0) != part || data.size() <= sizeof head ||
            data.size() - sizeof head > header.bytes - stream.size()) {
            return damaged(cat("part ", part, " of its Faiss index is missing, or of another size"));
        }
        std::memcpy(&head, data.data(), sizeof head);
        const std::span<const std::byte> share = data.subspan(sizeof head);
        if (head.magic != part_magic || head.generation != header.generation ||
            head.crc != tagged_crc(static_cast<std::uint64_t>(part), head.generation, share)) {
            return damaged(cat("the checksum of part ", part, " of its Faiss index does not match its bytes"));
        }
        stream.insert(stream.end(), share.begin(), share.end());
        VSS_TRY(store_.check_interrupt());
    }
    if (crc32c(0, stream.data(), stream.size()) != header.stream_crc ||
        stream.size() < header.rows * 8 + header.segments * sizeof(StoredSegment)) {
        return damaged("the checksum of its Faiss index does not match its bytes");
    }
    auto image = std::make_shared<FaissImage>();
    const auto rows = static_cast<std::size_t>(header.rows);
    image->generation = header.generation;
    image->slots.resize(rows);
    image->crcs.resize(rows);
    const std::byte* at = stream.data();
    if (rows > 0) {
        std::memcpy(image->slots.data(), at, rows * 4);
        std::memcpy(image->crcs.data(), at + rows * 4, rows * 4);
    }
    at += rows * 8;
    for (std::uint64_t i = 0; i < header.segments; ++i) {
        StoredSegment segment;
        std::memcpy(&segment, at, sizeof segment);
        at += sizeof segment;
        image->versions.emplace(segment.id, segment.version);
    }
    if (std::adjacent_find(image->slots.begin(), image->slots.end(), std::greater_equal<>()) != image->slots.end() ||
        image->versions.size() != header.segments) {
        return damaged("its Faiss index names rows out of order");
    }
    const std::span<const std::byte> bytes(at, stream.data() + stream.size());
    const Column& column = store_.column();
    if (const Status status = FaissEngine::read(bytes, column.dim, column.metric, rows, image->engine);
        !status.is_ok()) {
        return status.code() == Code::corrupt ? damaged(status.message()) : status;
    }
    image->engine_bytes = bytes.size();
    out = std::move(image);
    return Status::ok();
}

}  // namespace vss
