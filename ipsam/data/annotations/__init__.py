"""Sets that are annotated in a format of their own: COCO, YOLO, labelme, and Hugging Face datasets."""
