#include "sqlite/registry.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <variant>

#include "base/cache.h"
#include "base/random.h"
#include "kernels/rotation.h"

namespace vss {
namespace {

using Entry = std::variant<std::shared_ptr<const RowsBuffer>, std::shared_ptr<const SearchBuffer>>;

std::mutex mutex;
std::unordered_map<std::int64_t, Entry> entries;

std::int64_t add(Entry entry) {
    const std::lock_guard lock(mutex);
    // Asking the processor for random bits each time would take longer than all else that a ticket needs.
    static SplitMix random(random_version());
    const auto ticket = static_cast<std::int64_t>((random.next() >> 1U) | 1U);
    entries.insert_or_assign(ticket, std::move(entry));
    return ticket;
}

template <class Buffer>
std::shared_ptr<const Buffer> find(std::int64_t ticket) {
    const std::lock_guard lock(mutex);
    const auto at = entries.find(ticket);
    if (at == entries.end()) {
        return nullptr;
    }
    const auto* found = std::get_if<std::shared_ptr<const Buffer>>(&at->second);
    return found == nullptr ? nullptr : *found;
}

}  // namespace

std::int64_t register_rows(const RowsBuffer& rows) {
    auto entry = std::make_shared<RowsBuffer>(rows);
    if (rows.rows == nullptr || rows.n == 0) {
        return add(std::move(entry));
    }
    const std::byte* last = rows.rows + static_cast<std::ptrdiff_t>(rows.n - 1) * rows.stride;
    entry->lent = {std::make_shared<Lease>(), std::min(rows.rows, last), std::max(rows.rows, last) + rows.row_bytes};
    return add(std::move(entry));
}

std::int64_t register_search(const SearchBuffer& search) {
    return add(std::make_shared<const SearchBuffer>(search));
}

void release_ticket(std::int64_t ticket) {
    const std::lock_guard lock(mutex);
    const auto at = entries.find(ticket);
    if (at == entries.end()) {
        return;
    }
    if (const auto* rows = std::get_if<std::shared_ptr<const RowsBuffer>>(&at->second);
        rows != nullptr && (*rows)->lent.lease != nullptr) {
        (*rows)->lent.lease->is_over = true;
    }
    entries.erase(at);
}

LentMemory find_lender(std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex);
    for (const auto& [ticket, entry] : entries) {
        const auto* rows = std::get_if<std::shared_ptr<const RowsBuffer>>(&entry);
        if (rows != nullptr && (*rows)->lent.holds(bytes)) {
            return (*rows)->lent;
        }
    }
    return {};
}

std::shared_ptr<const RowsBuffer> find_rows(std::int64_t ticket) {
    return find<RowsBuffer>(ticket);
}

std::shared_ptr<const SearchBuffer> find_search(std::int64_t ticket) {
    return find<SearchBuffer>(ticket);
}

}  // namespace vss
