"""What people see: self-contained pages, thumbnails, heat maps."""
