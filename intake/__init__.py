"""What comes in: DICOM today; orders and archives later. Writes rows and bytes, rings no bell."""
