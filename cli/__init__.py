"""The command `paddleocr-vl`. To read documents it needs a server's address and the extra `client`, no more."""
