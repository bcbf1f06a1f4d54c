// Parts of blobs at random, by SQLite's incremental blob I/O: two thirds of the time that a statement takes for a row,
// as nothing is copied but the part.
//
// A handle is a statement that runs, so it is open within a scope only, inside the caller's own statement.
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "storage/sqlite_api.h"
#include "storage/table_name.h"

namespace vss {

class BlobReader {
  public:
    // Scopes may be nested.
    class Scope {
      public:
        explicit Scope(BlobReader& reader) : reader_(reader) { ++reader_.scopes_; }
        ~Scope() {
            if (--reader_.scopes_ == 0) {
                reader_.close();
            }
        }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

      private:
        BlobReader& reader_;
    };

    // out.size() bytes from `offset` on of column `data`, in the row of that number; the blob must have `size` bytes.
    // False: nothing was read, since no scope is open, or for a reason that a statement can say.
    bool read(const TableName& name, const std::string& suffix, std::int64_t row, std::size_t size, std::size_t offset,
              std::span<std::byte> out);
    void close() { blob_.reset(); }

  private:
    struct Closer {
        void operator()(sqlite3_blob* blob) const { sqlite3_blob_close(blob); }
    };

    std::unique_ptr<sqlite3_blob, Closer> blob_;
    int scopes_ = 0;
};

}  // namespace vss
