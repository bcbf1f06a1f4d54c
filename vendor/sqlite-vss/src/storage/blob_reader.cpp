#include "storage/blob_reader.h"

#include "base/parallel.h"
#include "base/text.h"

namespace vss {

bool BlobReader::read(const TableName& name, const std::string& suffix, std::int64_t row, std::size_t size,
                      std::size_t offset, std::span<std::byte> out) {
    if (scopes_ == 0 || !HelperThread::may_use(name.db)) {
        return false;
    }
    int rc = SQLITE_OK;
    if (blob_ != nullptr) {
        rc = sqlite3_blob_reopen(blob_.get(), row);
    } else {
        sqlite3_blob* opened = nullptr;
        rc = sqlite3_blob_open(name.db, name.schema.c_str(), cat(name.table, '_', suffix).c_str(), "data", row, 0,
                               &opened);
        blob_.reset(opened);
    }
    if (rc == SQLITE_OK && static_cast<std::size_t>(sqlite3_blob_bytes(blob_.get())) == size) {
        rc = sqlite3_blob_read(blob_.get(), out.data(), static_cast<int>(out.size()), static_cast<int>(offset));
        if (rc == SQLITE_OK) {
            return true;
        }
    }
    close();
    return false;
}

}  // namespace vss
