"""What readers make of drafts: texts in work, signatures, rejections, addenda, readings."""
